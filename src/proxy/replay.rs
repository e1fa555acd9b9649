//! A request made again from the bytes that were sent of it.
//!
//! hyper takes a request's fields apart while it writes them. Copying the written bytes costs next to
//! nothing, copying a field map for every request that might have to be sent again does not; so the
//! rare second attempt reads them back.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use super::request_body::RequestBody;

/// More than any request that passed the limits has.
const MOST_FIELDS: usize = 4096;

/// The request without a body whose head these bytes are; `None` if they are not all of it.
pub(super) fn read(head: &[u8]) -> Option<Request<RequestBody>> {
    let mut room = 128;
    loop {
        let mut fields = vec![httparse::EMPTY_HEADER; room];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(_)) => return build(&parsed),
            Err(httparse::Error::TooManyHeaders) if room < MOST_FIELDS => room *= 4,
            _ => return None,
        }
    }
}

fn build(parsed: &httparse::Request<'_, '_>) -> Option<Request<RequestBody>> {
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        headers.append(HeaderName::from_bytes(field.name.as_bytes()).ok()?, HeaderValue::from_bytes(field.value).ok()?);
    }
    let mut request = Request::new(RequestBody::default());
    *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    *request.uri_mut() = parsed.path?.parse::<Uri>().ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_whole_head_is_read_back_and_a_part_is_not() {
        let head = b"GET /a?b HTTP/1.1\r\nhost: x\r\naccept: a\r\naccept: b\r\n\r\n";
        let request = read(head).unwrap();
        assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("GET", "/a?b"));
        assert_eq!(request.headers().get_all("accept").iter().count(), 2);
        assert!(read(&head[..head.len() - 1]).is_none());
        let many: String = (0..300).map(|n| format!("f{n}: v\r\n")).collect();
        assert_eq!(read(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).unwrap().headers().len(), 300);
    }
}
