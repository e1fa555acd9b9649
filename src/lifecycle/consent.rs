//! What the life of a service that several routers share has to ask the others, and what it is told.
//!
//! It never switches off by itself: it says whether it may be ([`Stand`]), and closes when it is told to
//! ([`Order`]). The way between the routers is `crate::cluster`.

use tokio::sync::mpsc;

use crate::landscape::ServiceKey;

/// Names one switching off of one service. Never used twice.
pub type Token = u64;

/// How a router stands to one of its services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stand {
    /// Nothing of it runs, as far as this router knows.
    #[default]
    Away,
    /// It may be switched off.
    Idle,
    /// It may not.
    Busy,
}

/// What a service's life says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It begins, and leases nothing before [`Order::Open`].
    Joined,
    /// This has changed.
    Stand(Stand),
    /// Closed for this mark.
    Closed(Token),
    /// It is wanted, or could not be closed: this mark has to go.
    Wanted(Token),
    /// An operator wants it off everywhere.
    Sleep,
    /// It has ended.
    Left,
}

/// What a service's life is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Close, and answer by [`Word::Closed`] or [`Word::Wanted`]; start nothing from then on. What is wanted
    /// goes on serving.
    Close {
        /// For this mark.
        token: Token,
        /// What is in flight has its drain timeout, and demand waits.
        force: bool,
        /// An operator has just said so: what is held already is answered.
        sleep: bool,
    },
    /// There is no mark, or no longer: what was closed is opened again.
    Open,
    /// It has been scaled to nothing; it may be woken when that is seen.
    Off,
}

/// The way from a service's life to the other routers.
pub type Voice = mpsc::UnboundedSender<(ServiceKey, Word)>;
