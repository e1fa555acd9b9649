//! The least that Pingora can do: one thread, one upstream, every request forwarded.
//!
//! `pingora-forwarder LISTEN UPSTREAM`, both as `address:port`.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Forwarder {
    upstream: String,
}

#[async_trait]
impl ProxyHttp for Forwarder {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream.as_str(), false, String::new())))
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (args.next(), args.next()) else {
        eprintln!("usage: pingora-forwarder LISTEN UPSTREAM");
        return ExitCode::from(2);
    };
    // The pool's default of 128 idle connections would make 1,000 clients reconnect for ever.
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 4096, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let conf = Arc::clone(&server.configuration);
    let mut service = http_proxy_service(&conf, Forwarder { upstream });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever()
}
