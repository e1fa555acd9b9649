//! Errors of the admin API as RFC 9457 asks for them.

use http::StatusCode;
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// A problem, and the status of the answer that carries it.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    /// Of the answer.
    pub status: StatusCode,
    /// For programs; stable.
    pub code: &'static str,
    /// What a 405 names in `Allow` (RFC 9110 §15.5.6).
    pub allow: Option<&'static str>,
    detail: String,
    /// What `detail` is about, one each: a reload's mistakes.
    mistakes: Vec<String>,
    /// What a reload changed all the same.
    changes: Vec<String>,
}

impl Problem {
    /// `detail` says what to do.
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, allow: None, detail: detail.into(), mistakes: Vec::new(), changes: Vec::new() }
    }

    pub(super) fn with_mistakes(mut self, mistakes: Vec<String>) -> Self {
        self.mistakes = mistakes;
        self
    }

    pub(super) fn with_changes(mut self, changes: Vec<String>) -> Self {
        self.changes = changes;
        self
    }

    pub(super) fn with_allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    pub(super) fn json(&self) -> Vec<u8> {
        // Strings and numbers always serialise; the empty object keeps the promise of JSON.
        serde_json::to_vec(self).unwrap_or_else(|_| b"{}".to_vec())
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut p = to.serialize_struct("Problem", 7)?;
        p.serialize_field("type", &format_args!("urn:landscape-router:admin:{}", self.code))?;
        p.serialize_field("title", self.status.canonical_reason().unwrap_or("Error"))?;
        p.serialize_field("status", &self.status.as_u16())?;
        p.serialize_field("detail", &self.detail)?;
        p.serialize_field("code", self.code)?;
        if !self.mistakes.is_empty() {
            p.serialize_field("mistakes", &self.mistakes)?;
        }
        if !self.changes.is_empty() {
            p.serialize_field("changes", &self.changes)?;
        }
        p.end()
    }
}
