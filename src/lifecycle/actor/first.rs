//! Before anything else: what an earlier router left. An engine that does not answer makes this last.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Actor, Input};
use crate::backend::{Found, Seen};
use crate::lifecycle::consent::Word;
use crate::lifecycle::machine::Event;
use crate::lifecycle::service::Refusal;
use crate::moment::until;

/// When who was not waited for may try again: an engine that is back is found sooner.
const COME_BACK: Duration = Duration::from_secs(2);

/// What an earlier router left of a service, when that is known.
pub(in crate::lifecycle) struct First {
    pub found: Pin<Box<dyn Future<Output = Vec<Found>> + Send>>,
    /// Why it is not known yet.
    pub trouble: Option<watch::Receiver<Option<String>>>,
}

impl Actor {
    /// Waits for it and takes it over. Until then nothing is started or stopped: a replica that is there
    /// already would be doubled. What ends the service is heard, and everything else kept for later.
    pub(super) async fn begin(&mut self, first: First) {
        let First { mut found, mut trouble } = first;
        let mut later = Vec::new();
        let mut patience = None;
        let away = Refusal::Failed {
            public: "What runs the service cannot be reached at the moment.".to_owned(),
            retry_after: COME_BACK,
        };
        let found = loop {
            tokio::select! {
                found = &mut found => break found,
                why = next(&mut trouble) => {
                    self.blind = why;
                    self.show();
                    if self.blind.is_some() {
                        patience = patience.or_else(|| Some(Instant::now() + self.backend.patience()?));
                    }
                }
                () = until(patience) => {
                    patience = None;
                    self.service.shut_if_open(away.clone());
                }
                input = self.inbox.recv() => match input {
                    None => {
                        self.over = true;
                        return;
                    }
                    // A predecessor's sleep goes on with what it left: known before that is.
                    Some(Input::Event(event @ (Event::Shutdown { .. } | Event::Remove | Event::Sleep))) => self.take(event),
                    Some(input @ Input::HandOver(_)) => self.input(input),
                    Some(Input::Command { event, reply }) => {
                        later.push(Input::Event(event));
                        // Who asked may have left.
                        drop(reply.send(Ok(())));
                    }
                    Some(input) => later.push(input),
                },
            }
            if self.over {
                return;
            }
        };
        self.blind = None;
        self.service.reopen(&away);
        // Its predecessor of the same name, if there was one, has ended and said so.
        self.say(Word::Joined);
        let scaled = self.backend.scaled(self.service.key()).filter(|n| *n > 0);
        if let Some(replicas) = scaled {
            self.machine.expect(replicas, Instant::now());
        }
        // Where as many are there as somebody else wants, there is nothing to wake.
        let wakes = scaled.filter(|_| found.iter().all(|f| f.goal.is_none()));
        self.take(if found.is_empty() { Event::Tick } else { Event::Adopted(found) });
        if let Some(replicas) = wakes {
            self.take(Event::Seen(Seen::Scaled(replicas)));
        }
        for input in later {
            self.input(input);
        }
    }
}

/// The next thing that is the matter, other than the last.
async fn next(trouble: &mut Option<watch::Receiver<Option<String>>>) -> Option<String> {
    // Without a sender nothing is the matter any more.
    if let Some(trouble) = trouble
        && trouble.changed().await.is_ok()
    {
        return trouble.borrow_and_update().clone();
    }
    std::future::pending().await
}
