//! Networks with an engine that only says what it is to say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bollard::{API_DEFAULT_VERSION, Docker};
use serde_json::{Value, json};

use super::*;
use crate::backend::Attached;

/// An engine with one network at most.
#[derive(Default)]
struct Engine {
    network: Mutex<Option<Value>>,
    /// Containers are on it.
    used: AtomicBool,
}

impl Engine {
    /// With a network of before the private one.
    fn start() -> (Arc<Self>, Up) {
        let older =
            json!({ "Id": "older", "IPAM": { "Config": [{ "Subnet": "10.5.0.0/24", "Gateway": "10.5.0.1" }] } });
        let engine = Arc::new(Self { network: Mutex::new(Some(older)), used: AtomicBool::new(true) });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let serving = engine.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let engine = serving.clone();
                std::thread::spawn(move || engine.serve(&stream));
            }
        });
        let docker = Docker::connect_with_http(&address, 10, API_DEFAULT_VERSION).unwrap();
        (engine, Up { docker, epoch: 1, cores: 1.0 })
    }

    fn serve(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim().to_lowercase();
            if line.is_empty() {
                break;
            }
            length = line.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, answer) = self.answer(&first, &body);
        let answer = answer.to_string();
        write!(
            stream,
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        )
    }

    fn answer(&self, request: &str, body: &[u8]) -> (u16, Value) {
        let mut network = self.network.lock();
        let said = |message: &str| json!({ "message": message });
        match request.split(' ').next().unwrap() {
            "POST" => {
                let mut made: Value = serde_json::from_slice(body).unwrap();
                made["Id"] = "newer".into();
                *network = Some(made);
                (201, json!({ "Id": "newer", "Warning": "" }))
            }
            "GET" if request.contains("/networks?") || request.contains("/networks ") => (200, json!([])),
            "GET" => network.clone().map_or((404, said("not found")), |network| (200, network)),
            _ if self.used.load(Ordering::SeqCst) => (403, said("has active endpoints")),
            _ => {
                *network = None;
                (200, json!({}))
            }
        }
    }
}

/// A private network that lets everyone in, or nobody.
#[derive(Debug, Default)]
struct Private {
    fails: bool,
}

#[async_trait]
impl Network for Private {
    async fn attach(&self, _: &LandscapeId) -> io::Result<Attached> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn lacks_egress(&self) -> bool {
        false
    }

    async fn keep(&self, _: &LandscapeId, _: Ipv4Addr) -> io::Result<()> {
        Ok(())
    }

    fn release(&self, _: &LandscapeId, _: Ipv4Addr) {}

    fn bridge_name(&self, _: &LandscapeId) -> String {
        "le0".into()
    }

    async fn bridged(&self, _: &LandscapeId, gateway: Ipv4Net) -> io::Result<Ipv4Addr> {
        if self.fails { Err(io::Error::other("no more sockets")) } else { Ok(gateway.addr()) }
    }

    async fn unbridged(&self, _: &LandscapeId) {}
}

fn networks(private: Private) -> Networks {
    Networks::new(Instance("a".into()), Some(Arc::new(private)))
}

#[tokio::test]
async fn an_older_network_is_made_anew_as_soon_as_no_container_is_on_it() {
    let (engine, up) = Engine::start();
    let networks = networks(Private::default());
    let (subnets, shop) = (["10.5.0.0/22".parse().unwrap()], LandscapeId::from("shop"));
    for _ in 0..2 {
        let joined = networks.ensure(&up, &subnets, &shop).await.unwrap();
        assert_eq!((joined.id.as_str(), joined.resolver), ("older", None));
    }
    engine.used.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        let joined = networks.ensure(&up, &subnets, &shop).await.unwrap();
        assert_eq!(joined.id, "newer");
        assert!(joined.resolver.is_some());
    }
}

#[tokio::test]
async fn containers_are_taken_over_whose_network_cannot_be_joined() {
    let (engine, up) = Engine::start();
    let (subnets, shop) = (["10.5.0.0/22".parse().unwrap()], LandscapeId::from("shop"));
    engine.used.store(false, Ordering::SeqCst);
    networks(Private::default()).ensure(&up, &subnets, &shop).await.unwrap();
    let fails = networks(Private { fails: true });
    fails.rejoin(&up, &shop).await.unwrap();
    assert!(fails.ensure(&up, &subnets, &shop).await.is_err(), "no other is started where it could call nobody");
}
