//! A shared service on its own: what it says, and what it does when it is told. How several of them get on
//! with each other is in `crate::cluster`.

use std::time::{Duration, Instant};

use super::{Config, Effect, Event, Facts, Machine};
use crate::backend::{Abilities, Addresses, Failure, FailureKind, ReplicaId, Seen};
use crate::lifecycle::consent::{Order, Stand, Word};
use crate::lifecycle::fixtures;
use crate::lifecycle::status::StateName;

struct Shared {
    machine: Machine,
    now: Instant,
    facts: Facts,
    rotation: Vec<ReplicaId>,
    words: Vec<Word>,
    wanted: Vec<ReplicaId>,
    probes: Vec<ReplicaId>,
    refused: usize,
}

impl Shared {
    fn new() -> Self {
        let now = Instant::now();
        let config = Config {
            spec: fixtures::spec("web", 1, 0).into(),
            policy: fixtures::policy().into(),
            runnable: Ok(()),
            prepared: true,
        };
        let abilities = Abilities { pause: false, local: false, shared_ports: true };
        Self {
            machine: Machine::new(config, abilities, 1, now).shared(),
            now,
            facts: Facts::default(),
            rotation: Vec::new(),
            words: Vec::new(),
            wanted: Vec::new(),
            probes: Vec::new(),
            refused: 0,
        }
    }

    fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.machine.on(event, self.now, &self.facts) {
                match effect {
                    Effect::Apply(want) => self.wanted = want.replicas.iter().map(|w| w.id).collect(),
                    Effect::Publish(rotation) => self.rotation = rotation.into_iter().map(|(id, _)| id).collect(),
                    Effect::CloseIfIdle(_) => events.push(Event::Closed(self.facts.in_flight == 0)),
                    Effect::Probe { id, .. } => self.probes.push(id),
                    Effect::Say(word) => self.words.push(word),
                    Effect::Refuse(_) => self.refused += 1,
                    _ => {}
                }
            }
        }
    }

    fn order(&mut self, order: Order) -> Vec<Word> {
        self.words.clear();
        self.tell(Event::Ordered(order));
        std::mem::take(&mut self.words)
    }

    fn close(&mut self, token: u64, force: bool) -> Vec<Word> {
        self.order(Order::Close { token, force, sleep: force })
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.tell(Event::Tick);
    }

    fn state(&self) -> StateName {
        self.machine.state()
    }

    /// What is wanted runs and is ready.
    fn run(&mut self) {
        let addresses = Addresses::new(vec![(3000, ([10, 0, 0, 1], 3000).into())]);
        for id in self.wanted.clone() {
            self.tell(Event::Seen(Seen::Running(id, addresses.clone())));
            self.tell(Event::ProbePassed(id, addresses.clone()));
        }
    }

    /// Awake, and not used for long.
    fn idle() -> Self {
        let mut s = Self::new();
        s.order(Order::Open);
        s.tell(Event::Demand);
        s.run();
        assert_eq!(s.state(), StateName::Ready);
        s.pass(61);
        s
    }
}

#[test]
fn nothing_is_started_before_it_is_told_that_it_may() {
    let mut s = Shared::new();
    s.tell(Event::Demand);
    assert_eq!((s.state(), s.wanted.len()), (StateName::Off, 0));
    assert!(s.machine.unheard().is_some());
    s.order(Order::Open);
    assert_eq!((s.state(), s.wanted.len()), (StateName::Starting, 1));
    assert!(s.machine.unheard().is_none());
}

#[test]
fn it_says_that_it_may_go_and_stays() {
    let mut s = Shared::idle();
    assert_eq!(s.words.last(), Some(&Word::Stand(Stand::Idle)));
    assert_eq!((s.state(), s.machine.next_deadline(&s.facts)), (StateName::Ready, None), "and waits for nothing");
    s.facts.in_flight = 1;
    s.tell(Event::Used);
    assert_eq!(s.words.last(), Some(&Word::Stand(Stand::Busy)));
}

#[test]
fn it_closes_when_it_is_told_and_is_gone_when_its_number_is_nothing() {
    let mut s = Shared::idle();
    assert_eq!(s.close(7, false), [Word::Closed(7)]);
    assert_eq!((s.state(), s.rotation.len(), s.wanted.len()), (StateName::Draining, 0, 1));
    s.order(Order::Off);
    assert_eq!(s.state(), StateName::Draining, "its replicas are there as far as is seen");
    s.tell(Event::Seen(Seen::Scaled(0)));
    assert_eq!((s.state(), s.wanted.len()), (StateName::Off, 0));
    s.tell(Event::Demand);
    assert_eq!((s.state(), s.wanted.len()), (StateName::Starting, 1), "at once");
}

#[test]
fn what_comes_between_the_scaling_and_its_being_told_waits() {
    let mut s = Shared::idle();
    s.close(7, false);
    s.tell(Event::Seen(Seen::Scaled(0)));
    assert_eq!(s.state(), StateName::Off);
    s.tell(Event::Demand);
    assert_eq!((s.state(), s.wanted.len()), (StateName::Off, 0), "an old leader may be about to scale it");
    s.order(Order::Off);
    assert_eq!((s.state(), s.wanted.len()), (StateName::Starting, 1));
}

#[test]
fn a_scaling_that_is_not_seen_is_believed_after_a_while() {
    let mut s = Shared::idle();
    s.close(7, false);
    s.order(Order::Off);
    s.pass(11);
    assert_eq!(s.state(), StateName::Off);
}

#[test]
fn what_is_in_use_serves_on_and_says_so() {
    let mut s = Shared::idle();
    s.facts.in_flight = 1;
    assert_eq!(s.close(7, false)[0], Word::Wanted(7));
    assert_eq!((s.state(), s.rotation.len()), (StateName::Ready, 1));
}

#[test]
fn demand_asks_for_the_mark_to_go_once_and_is_served_when_it_has() {
    let mut s = Shared::idle();
    s.close(7, false);
    s.words.clear();
    s.tell(Event::Demand);
    s.tell(Event::Demand);
    assert_eq!(s.words.iter().filter(|w| **w == Word::Wanted(7)).count(), 1);
    assert_eq!(s.rotation.len(), 0);
    s.order(Order::Open);
    assert_eq!((s.state(), s.rotation.len()), (StateName::Ready, 1), "without a start");
    s.pass(30);
    assert_eq!(s.state(), StateName::Ready);
    s.pass(40);
    assert_eq!(s.words.last(), Some(&Word::Stand(Stand::Idle)), "it may go again");
}

#[test]
fn an_operators_sleep_is_asked_of_all_and_waits_for_what_is_in_flight() {
    let mut s = Shared::idle();
    s.facts.in_flight = 1;
    s.words.clear();
    s.tell(Event::Sleep);
    assert!(s.words.contains(&Word::Sleep), "{:?}", s.words);
    assert_eq!((s.state(), s.rotation.len()), (StateName::Ready, 1));
    let id = s.rotation[0];
    assert_eq!(s.close(8, true).iter().filter(|w| matches!(w, Word::Closed(_))).count(), 0);
    assert_eq!((s.state(), s.rotation.len()), (StateName::Draining, 0));
    s.facts.in_flight = 0;
    s.words.clear();
    s.tell(Event::Drained(id));
    assert!(s.words.contains(&Word::Closed(8)));
    s.tell(Event::Demand);
    assert!(!s.words.contains(&Word::Wanted(8)), "the sleep comes to its end first");
    // Somebody has it pinned.
    s.order(Order::Open);
    assert_eq!((s.state(), s.probes.len()), (StateName::Starting, 2), "it is looked at before it serves again");
    s.run();
    assert_eq!((s.state(), s.rotation.len()), (StateName::Ready, 1));
}

#[test]
fn what_is_pinned_refuses_even_an_operators_sleep() {
    let mut s = Shared::idle();
    s.tell(Event::Pin);
    assert_eq!(s.close(8, true), [Word::Wanted(8)]);
    assert_eq!(s.state(), StateName::Ready);
}

#[test]
fn a_failure_is_told_whole_before_its_replicas_may_go() {
    let mut s = Shared::new();
    s.order(Order::Open);
    s.tell(Event::Demand);
    let id = s.wanted[0];
    s.words.clear();
    let (public, detail) = ("The service exited.".to_owned(), "exit status 3".to_owned());
    let failure = Failure { kind: FailureKind::Exited, public, detail, log_tail: Vec::new(), permanent: false };
    s.tell(Event::Seen(Seen::Ending(id, failure.clone())));
    assert_eq!((s.state(), s.words.as_slice()), (StateName::Failed, &[][..]), "it may not go yet");
    s.tell(Event::Seen(Seen::Ended(id, failure)));
    assert_eq!(s.words, [Word::Stand(Stand::Idle)]);
}

#[test]
fn what_a_newcomer_holds_waits_for_the_end_that_others_have_agreed_upon() {
    let mut s = Shared::new();
    s.facts.held = 1;
    s.tell(Event::Demand);
    assert_eq!(s.order(Order::Close { token: 9, force: true, sleep: false }), [Word::Closed(9)]);
    assert_eq!((s.state(), s.refused), (StateName::Off, 0));
    s.order(Order::Off);
    assert_eq!((s.state(), s.wanted.len(), s.refused), (StateName::Starting, 1, 0));
}

#[test]
fn a_newcomer_serves_nothing_while_there_is_a_mark_it_was_not_asked_about() {
    let mut s = Shared::new();
    s.tell(Event::Seen(Seen::Scaled(1)));
    s.words.clear();
    assert_eq!(s.close(9, false)[0], Word::Wanted(9), "it is wanted, for its number says so");
    assert_eq!((s.state(), s.wanted.len()), (StateName::Off, 0));
    s.order(Order::Open);
    assert_eq!((s.state(), s.wanted.len()), (StateName::Starting, 1));
}
