//! One GET and the status of its answer: all of HTTP that a probe needs.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// No status line is longer, interim answers before it included.
const MAX_HEAD: usize = 8 << 10;

/// The status that `GET path` gets. `Host` is what the endpoint's URL says inside the replica.
pub async fn status(stream: TcpStream, tls: bool, port: u16, path: &str) -> io::Result<u16> {
    if !tls {
        return ask(stream, port, path).await;
    }
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    ask(TlsConnector::from(Arc::new(any_certificate()?)).connect(name, stream).await?, port, path).await
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, port: u16, path: &str) -> io::Result<u16> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: landscape-router-probe\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(256);
    loop {
        if let Some(status) = parse(&head)? {
            return Ok(status);
        }
        if head.len() >= MAX_HEAD {
            return Err(io::Error::other("its answer has no end of the head"));
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::other("it closed the connection without an answer"));
        }
    }
}

/// The final status in what has come so far; `None`: more is needed.
fn parse(mut head: &[u8]) -> io::Result<Option<u16>> {
    loop {
        let known = head.len().min(5);
        if head[..known] != b"HTTP/"[..known] {
            return Err(io::Error::other("its answer is not HTTP"));
        }
        let Some(end) = head.iter().position(|&b| b == b'\n') else { return Ok(None) };
        let status = std::str::from_utf8(&head[..end])
            .ok()
            .and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u16>().ok())
            .ok_or_else(|| io::Error::other("its answer has no status"))?;
        if !(100..200).contains(&status) {
            return Ok(Some(status));
        }
        // An interim answer: the final one follows its empty line.
        let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
        head = &head[end + 4..];
        if head.is_empty() {
            return Ok(None);
        }
    }
}

fn any_certificate() -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(schemes)))
        .with_no_client_auth())
}

/// A probe talks to the replica itself, at an address the backend gave: a certificate for
/// `localhost` would prove nothing more.
#[derive(Debug)]
struct AnyCertificate(Vec<SignatureScheme>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_status_is_found_however_it_arrives() {
        let whole = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        for cut in 0..54 {
            assert!(!matches!(parse(&whole[..cut]), Ok(Some(103)) | Err(_)), "cut at {cut}");
        }
        assert_eq!(parse(whole).unwrap(), Some(204));
        assert_eq!(parse(b"HTTP/1.0 500 \n").unwrap(), Some(500));
        assert!(parse(b"-ERR unknown command").is_err());
        assert!(parse(b"HTTP/1.1 abc\r\n").is_err());
    }
}
