//! `healthEndpoint`: a URL as seen inside the replica.

use super::no_template;
use crate::landscape::file::{Spot, Spotted};
use crate::landscape::spec::Health;
use crate::landscape::url::{Host, Url};
use crate::yaml::field::quote;
use crate::yaml::{At, Diagnostics, Map};

/// A service's health endpoint, if it has one.
pub(super) fn read(map: &mut Map<'_>, d: &mut Diagnostics) -> Option<Spotted<Health>> {
    let at = map.value("healthEndpoint")?;
    let text = at.text(d)?.trim();
    if text.is_empty() {
        return None;
    }
    if no_template(&at, d) {
        return None;
    }
    let health = parse(text, &at, d)?;
    Some(Spotted { value: health, spot: Spot::of(&at) })
}

fn parse(text: &str, at: &At<'_>, d: &mut Diagnostics) -> Option<Health> {
    const SHAPE: &str = "write it as http://localhost:3000/ or tcp://localhost:3000";
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(why) => {
            let mistake = at.error(d, format!("expected a full URL, found {}: {why}", quote(text)));
            match text.starts_with('/') {
                true => mistake.help(format!("did you mean `http://localhost:3000{text}`?")),
                false => mistake.help(SHAPE),
            };
            return None;
        }
    };
    if !stands_for_replica(&url.host) {
        at.error(d, format!("the host has to be localhost, 127.0.0.1 or ::1, found {}", quote(&url.host.to_string())))
            .help("it stands for the replica itself; write localhost");
        return None;
    }
    if url.has_userinfo {
        at.error(d, "a health endpoint has no user or password").help("leave out what stands before the `@`");
        return None;
    }
    if url.fragment.is_some() {
        at.warning(d, "what stands behind `#` is never sent");
    }
    match (&*url.scheme, url.port) {
        ("http" | "https", port) => {
            let tls = url.scheme == "https";
            let path = if url.path.is_empty() { "/" } else { url.path };
            let path = url.query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
            Some(Health::Http { port: port.unwrap_or(if tls { 443 } else { 80 }), path, tls })
        }
        ("tcp", Some(port)) => {
            if !matches!(url.path, "" | "/") || url.query.is_some() {
                at.warning(d, "tcp is a connect alone; the path is not used");
            }
            Some(Health::Tcp { port })
        }
        ("tcp", None) => {
            at.error(d, "a tcp endpoint needs a port").help(SHAPE);
            None
        }
        _ => {
            at.error(d, format!("the scheme has to be http, https or tcp, found {}", quote(&url.scheme))).help(SHAPE);
            None
        }
    }
}

fn stands_for_replica(host: &Host) -> bool {
    match host {
        Host::Name(name) => name == "localhost",
        Host::Address(address) => matches!(&*address.to_string(), "127.0.0.1" | "::1"),
    }
}
