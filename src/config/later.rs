//! Keys of features that a later version has: told as such, not as unknown.

/// What a key or value that we do not know belongs to, if a later version knows it.
pub(super) fn feature(key: &str) -> Option<&'static str> {
    Some(match key {
        "https" | "tls" | "certificates" | "certificate" | "acme" | "redirectToHttps" | "http2" | "http3" => {
            "TLS at the router's own listeners"
        }
        "proxyProtocol" => "the PROXY protocol",
        "cluster" | "peers" | "gossip" => "several routers as one without Kubernetes",
        "traces" | "tracing" | "otlp" => "traces",
        "requestRecords" | "requests" | "records" => "request records",
        "usage" | "usageEvents" => "usage events",
        "autoscale" | "autoscaling" | "autoscaler" | "scale" => "autoscaling",
        "rateLimit" | "rateLimits" => "rate limits",
        _ => return None,
    })
}
