//! Databases that accept connections before they serve: asked whether they do by now.
//!
//! PostgreSQL turns clients away while it starts up or recovers, Redis while it loads what it kept. What
//! listens at their registered ports is asked in their own language, and nothing but their "not yet" counts:
//! whatever else is there has accepted, which is enough.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// What says nothing for so long is none of them.
const SILENCE: Duration = Duration::from_millis(500);
/// Who says "not yet" writes a line into its log each time: it is not asked as often as it could be.
const AGAIN: Duration = Duration::from_millis(20);
/// No "not yet" is longer.
const ENOUGH: usize = 1024;

/// See the module's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// At 5432.
    Postgres,
    /// At 6379.
    Redis,
}

impl Store {
    /// The one whose port this is.
    pub fn of(port: u16) -> Option<Self> {
        match port {
            5432 => Some(Self::Postgres),
            6379 => Some(Self::Redis),
            _ => None,
        }
    }

    /// Asks on a fresh connection. The error: it does not serve yet.
    pub async fn ask(self, mut stream: TcpStream) -> io::Result<()> {
        let answer = async {
            stream.write_all(self.question()).await?;
            let mut said = Vec::with_capacity(ENOUGH);
            while said.len() < ENOUGH && !self.is_whole(&said) && stream.read_buf(&mut said).await? > 0 {}
            io::Result::Ok(said)
        };
        match timeout(SILENCE, answer).await {
            Ok(Ok(said)) if self.is_not_yet(&said) => {
                sleep(AGAIN).await;
                Err(io::Error::other(format!("{self:?} accepts, and does not serve yet")))
            }
            Ok(Ok(_)) if self == Self::Postgres => {
                // Not to leave without a word; it may have closed already.
                let _ = stream.write_all(&TERMINATE).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn question(self) -> &'static [u8] {
        match self {
            // Protocol 3.0, a user whom most have, and the database of the same name.
            Self::Postgres => b"\x00\x00\x00\x17\x00\x03\x00\x00user\x00postgres\x00\x00",
            Self::Redis => b"PING\r\n",
        }
    }

    /// Whether the first message of the answer has come.
    fn is_whole(self, said: &[u8]) -> bool {
        match self {
            Self::Postgres => {
                let length = said.get(1..5).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
                length.is_some_and(|length| said.len() > length as usize)
            }
            Self::Redis => said.contains(&b'\n'),
        }
    }

    fn is_not_yet(self, said: &[u8]) -> bool {
        match self {
            // An error with the code `cannot_connect_now`.
            Self::Postgres => said.starts_with(b"E") && said.windows(7).any(|field| field == b"C57P03\0"),
            Self::Redis => said.starts_with(b"-LOADING"),
        }
    }
}

const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const STARTING: &[u8] = b"E\x00\x00\x00\x35SFATAL\0VFATAL\0C57P03\0Mthe database is starting up\0\0";

    /// What a store is taken for that answers so, and what it was asked.
    async fn asked(store: Store, answer: &'static [u8]) -> (io::Result<()>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = [0; 64];
            let length = stream.read(&mut question).await.unwrap();
            // In two parts, as networks do.
            let (one, two) = answer.split_at(answer.len() / 2);
            for part in [one, two] {
                stream.write_all(part).await.unwrap();
                sleep(Duration::from_millis(5)).await;
            }
            question[..length].to_vec()
        };
        let ask = async { store.ask(TcpStream::connect(at).await.unwrap()).await };
        tokio::join!(ask, server)
    }

    #[tokio::test]
    async fn only_not_yet_is_not_ready() {
        let (postgres, question) = asked(Store::Postgres, STARTING).await;
        assert!(postgres.unwrap_err().to_string().starts_with("Postgres accepts"));
        assert_eq!(usize::from(question[3]), question.len(), "the message says its own length");
        assert!(asked(Store::Redis, b"-LOADING Redis is loading the dataset in memory\r\n").await.0.is_err());
        for answer in [&b"R\0\0\0\x08\0\0\0\0"[..], b"E\0\0\0\x0eC28000\0Mno\0\0", b"what?\n", b""] {
            asked(Store::Postgres, answer).await.0.unwrap();
        }
        for answer in [&b"+PONG\r\n"[..], b"-NOAUTH Authentication required.\r\n", b"x"] {
            asked(Store::Redis, answer).await.0.unwrap();
        }
    }

    #[tokio::test]
    async fn what_says_nothing_is_taken_as_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Store::Postgres.ask(stream).await.unwrap();
    }
}
