//! Questions of one landscape that somebody else has the answer to: from the cache, or from upstream.
//!
//! The cache is the landscape's own: what one landscape asks for is not to be seen, by how fast it is there,
//! from another.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Question;
use super::cache::{Cache, Key};
use super::upstream::Forwarder;
use super::wire;

/// Questions of one landscape under way.
const QUESTIONS: usize = 256;

/// The landscape's way to the world's names.
pub struct Relay {
    forwarder: Forwarder,
    cache: Mutex<Cache>,
    questions: Arc<Semaphore>,
}

/// What a question leads to.
pub enum Start {
    /// There is an answer already.
    Known(Vec<u8>),
    /// It may be asked; the permit is its place among those under way.
    Ask(OwnedSemaphorePermit),
}

impl Relay {
    pub fn new(forwarder: Forwarder) -> Self {
        Self { forwarder, cache: Mutex::default(), questions: Arc::new(Semaphore::new(QUESTIONS)) }
    }

    /// Looks whether the answer is known, nobody is there to ask, or too many questions are under way.
    pub fn start(&self, question: &Question) -> Start {
        if self.forwarder.upstreams().is_empty() {
            return Start::Known(question.refused());
        }
        if let Some(key) = key(question)
            && let Some(response) = self.cache.lock().get(&key, Instant::now())
        {
            return Start::Known(finish(response, question));
        }
        match self.questions.clone().try_acquire_owned() {
            Ok(place) => Start::Ask(place),
            Err(_) => {
                tracing::debug!("too many questions for names outside are under way");
                Start::Known(question.failed())
            }
        }
    }

    /// Asks, and gives the response for the one who asked, whatever comes of it.
    pub async fn ask(&self, question: &Question, _place: OwnedSemaphorePermit) -> Vec<u8> {
        match self.forwarder.ask(question.bytes(), question.by_tcp()).await {
            Ok(response) => {
                if let Some(key) = key(question) {
                    self.cache.lock().put(key, &response, Instant::now());
                }
                finish(response, question)
            }
            Err(error) => {
                tracing::debug!(%error, "a name outside could not be asked for");
                question.failed()
            }
        }
    }
}

fn key(question: &Question) -> Option<Key> {
    if question.is_plain() { Key::of(question.bytes()) } else { None }
}

/// The upstream's response as this question's own.
fn finish(mut response: Vec<u8>, question: &Question) -> Vec<u8> {
    wire::adopt(&mut response, question.bytes());
    wire::fit(response, question.limit())
}
