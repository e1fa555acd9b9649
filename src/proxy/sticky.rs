//! Stickiness by cookie: a returning client gets the replica it had, while that one is ready.

use http::header::{self, HeaderMap, HeaderValue};

/// The cookie of one service. It holds an ordinal and nothing else.
#[derive(Debug)]
pub(super) struct StickyCookie {
    name: String,
}

impl StickyCookie {
    /// Services of one host have cookies of their own.
    pub fn new(service: &str) -> Self {
        let token = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        Self { name: format!("landscape-replica-{}", service.chars().map(token).collect::<String>()) }
    }

    /// The ordinal that a request's cookie names.
    pub fn read(&self, headers: &HeaderMap) -> Option<u32> {
        headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok()).find_map(|line| {
            line.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                (name.trim() == self.name).then(|| value.trim().parse().ok())?
            })
        })
    }

    /// Names `ordinal` in an answer.
    pub fn write(&self, headers: &mut HeaderMap, ordinal: u32) {
        let text = format!("{}={ordinal}; Path=/; HttpOnly; SameSite=Lax", self.name);
        // Its name is made of token characters alone.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let cookie = StickyCookie::new("web app");
        let mut answer = HeaderMap::new();
        cookie.write(&mut answer, 3);
        let set = answer["set-cookie"].to_str().unwrap();
        assert_eq!(set, "landscape-replica-web_app=3; Path=/; HttpOnly; SameSite=Lax");
        let mut request = HeaderMap::new();
        request.insert("cookie", format!("a=b; {}; c", set.split(';').next().unwrap()).parse().unwrap());
        assert_eq!(cookie.read(&request), Some(3));
        assert_eq!(StickyCookie::new("other").read(&request), None);
        request.insert("cookie", "landscape-replica-web_app=x".parse().unwrap());
        assert_eq!(cookie.read(&request), None);
    }
}
