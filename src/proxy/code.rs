//! The listed set of codes that `X-Landscape-Error` carries, each with its status.

use http::StatusCode;

/// Why the router answered by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request breaks the rules of HTTP, or could be read in two ways.
    BadRequest,
    /// The Host field is missing, repeated, malformed or disagrees with the target.
    BadHost,
    /// CONNECT, which only a forward proxy offers.
    MethodNotAllowed,
    /// The client did not send its header in time.
    RequestTimeout,
    /// The body is longer than `limits.body`.
    BodyTooLarge,
    /// The request target is too long.
    UriTooLong,
    /// Too many header fields, or too many bytes of them.
    HeaderTooLarge,
    /// A transfer coding that the router does not know.
    NotImplemented,
    /// Not HTTP/1.0 or HTTP/1.1.
    VersionNotSupported,
    /// No landscape answers to this host.
    UnknownHost,
    /// The host is known, no service serves this path.
    NoRoute,
    /// The landscape's ci.yml has never been good.
    LandscapeInvalid,
    /// The service is one that the router does not provide.
    NotProvided,
    /// The service cannot run on this installation.
    NotRunnable,
    /// Too many connections, or no descriptors left.
    Overloaded,
    /// Too many requests wait for this service, or for all.
    HoldFull,
    /// The service did not become ready while the request was held.
    HoldTimeout,
    /// The service did not start.
    StartFailed,
    /// The service is starting; ask again.
    Starting,
    /// The service sleeps, and this request is of a kind that does not wake it.
    Asleep,
    /// The service was removed from the configuration.
    Removed,
    /// The router is ending.
    ShuttingDown,
    /// No connection to the service could be made.
    UpstreamConnect,
    /// The service closed the connection before its answer was complete.
    UpstreamReset,
    /// The service's answer is not valid HTTP, or may not be forwarded.
    UpstreamInvalid,
    /// The service did not answer in time.
    ResponseTimeout,
    /// The target's address is one that may not be reached.
    TargetRefused,
    /// The target's name has no address.
    TargetUnresolved,
    /// The request has come through this router too often.
    LoopDetected,
    /// A fault of the router itself.
    Internal,
}

impl ErrorCode {
    /// Every code, for documentation and tests.
    pub const ALL: [Self; 30] = [
        Self::BadRequest,
        Self::BadHost,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::HeaderTooLarge,
        Self::NotImplemented,
        Self::VersionNotSupported,
        Self::UnknownHost,
        Self::NoRoute,
        Self::LandscapeInvalid,
        Self::NotProvided,
        Self::NotRunnable,
        Self::Overloaded,
        Self::HoldFull,
        Self::HoldTimeout,
        Self::StartFailed,
        Self::Starting,
        Self::Asleep,
        Self::Removed,
        Self::ShuttingDown,
        Self::UpstreamConnect,
        Self::UpstreamReset,
        Self::UpstreamInvalid,
        Self::ResponseTimeout,
        Self::TargetRefused,
        Self::TargetUnresolved,
        Self::LoopDetected,
        Self::Internal,
    ];

    /// As the header field spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::BadHost => "bad-host",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::RequestTimeout => "request-timeout",
            Self::BodyTooLarge => "body-too-large",
            Self::UriTooLong => "uri-too-long",
            Self::HeaderTooLarge => "header-too-large",
            Self::NotImplemented => "not-implemented",
            Self::VersionNotSupported => "version-not-supported",
            Self::UnknownHost => "unknown-host",
            Self::NoRoute => "no-route",
            Self::LandscapeInvalid => "landscape-invalid",
            Self::NotProvided => "not-provided",
            Self::NotRunnable => "not-runnable",
            Self::Overloaded => "overloaded",
            Self::HoldFull => "hold-full",
            Self::HoldTimeout => "hold-timeout",
            Self::StartFailed => "start-failed",
            Self::Starting => "starting",
            Self::Asleep => "asleep",
            Self::Removed => "removed",
            Self::ShuttingDown => "shutting-down",
            Self::UpstreamConnect => "upstream-connect",
            Self::UpstreamReset => "upstream-reset",
            Self::UpstreamInvalid => "upstream-invalid",
            Self::ResponseTimeout => "response-timeout",
            Self::TargetRefused => "target-refused",
            Self::TargetUnresolved => "target-unresolved",
            Self::LoopDetected => "loop-detected",
            Self::Internal => "internal",
        }
    }

    /// The status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::BadHost => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::UnknownHost | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::LandscapeInvalid
            | Self::NotProvided
            | Self::NotRunnable
            | Self::Overloaded
            | Self::HoldFull
            | Self::HoldTimeout
            | Self::StartFailed
            | Self::Starting
            | Self::Asleep
            | Self::Removed
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamConnect
            | Self::UpstreamReset
            | Self::UpstreamInvalid
            | Self::TargetRefused
            | Self::TargetUnresolved => StatusCode::BAD_GATEWAY,
            Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// One sentence for people, without internals.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is not valid HTTP.",
            Self::BadHost => "The request names no host, or names it wrongly.",
            Self::MethodNotAllowed => "This method is not offered here.",
            Self::RequestTimeout => "The request did not arrive in time.",
            Self::BodyTooLarge => "The request's body is too large.",
            Self::UriTooLong => "The request's address is too long.",
            Self::HeaderTooLarge => "The request's header is too large.",
            Self::NotImplemented => "The request uses a transfer coding that is not known here.",
            Self::VersionNotSupported => "This version of HTTP is not spoken here.",
            Self::UnknownHost => "No workspace answers to this host.",
            Self::NoRoute => "No service of this workspace serves this path.",
            Self::LandscapeInvalid => "This workspace's configuration is not valid.",
            Self::NotProvided => "This service is not provided here.",
            Self::NotRunnable => "This service cannot run here.",
            Self::Overloaded => "The server is overloaded. Please try again in a moment.",
            Self::HoldFull => "Too many requests are waiting for this service. Please try again in a moment.",
            Self::HoldTimeout => "The service did not become ready in time. Please try again in a moment.",
            Self::StartFailed => "The service could not be started.",
            Self::Starting => "Workspace server is starting.",
            Self::Asleep => "The service is asleep.",
            Self::Removed => "This service no longer exists.",
            Self::ShuttingDown => "The server is shutting down. Please try again in a moment.",
            Self::UpstreamConnect => "The service could not be reached.",
            Self::UpstreamReset => "The service closed the connection without a complete answer.",
            Self::UpstreamInvalid => "The service gave an answer that is not valid.",
            Self::ResponseTimeout => "The service did not answer in time.",
            Self::TargetRefused => "This route leads to an address that may not be reached.",
            Self::TargetUnresolved => "The host that this route leads to could not be found.",
            Self::LoopDetected => "The request goes in circles: its route leads back here.",
            Self::Internal => "Something went wrong in the router.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn names_are_unique_and_statuses_are_errors() {
        let names: std::collections::HashSet<_> = ErrorCode::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        assert!(ErrorCode::ALL.iter().all(|c| c.status().as_u16() >= 400 && c.sentence().ends_with('.')));
    }
}
