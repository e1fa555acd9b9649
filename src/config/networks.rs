//! Networks that pieces and addresses are taken from: none of them overlaps another.

use ipnet::{IpNet, Ipv4Net};

use super::checks::Checks;
use super::defaults as d;
use super::model;
use super::settings::PrivateSettings;
use crate::private::ground::overlap;
use crate::yaml::field;

/// Addresses and bounds of the network between services; `None`: it is switched off.
pub(super) fn private(router: &model::Router, c: &mut Checks<'_>) -> Option<PrivateSettings> {
    let private = match &router.private {
        Some(model::Private::Word(model::Off::Off)) => return None,
        Some(model::Private::Settings(settings)) => settings.clone(),
        None => model::PrivateSettings::default(),
    };
    let addresses = private.addresses.and_then(|net| v4(c, "private.addresses", net.0));
    let mut subnets = Vec::new();
    match &private.subnets {
        Some(all) => {
            for (i, net) in all.iter().enumerate() {
                let path = field::index("private.subnets", i);
                subnets.extend(v4(c, &path, net.0));
            }
        }
        None => subnets.extend(d::PRIVATE_SUBNETS.iter().filter_map(|net| net.parse::<Ipv4Net>().ok())),
    }
    let docker = of_docker(router);
    if let Some(net) = addresses.filter(|net| overlaps(*net, &docker)) {
        c.error("private.addresses", format!("{net} overlaps `docker.subnets`")).help("choose another network");
    }
    let subnets_given = private.subnets.is_some();
    if !subnets_given {
        subnets.retain(|net| !overlaps(*net, &docker) && !overlaps(*net, addresses.as_slice()));
    }
    for (i, net) in subnets.iter().enumerate() {
        let path = field::index("private.subnets", i);
        if overlaps(*net, addresses.as_slice()) {
            c.error(&path, format!("{net} overlaps `private.addresses`")).help("choose another network");
        }
        if overlaps(*net, &subnets[..i]) {
            c.error(&path, format!("{net} overlaps another one of the list")).help("remove one of them");
        }
        if overlaps(*net, &docker) {
            c.error(&path, format!("{net} overlaps `docker.subnets`")).help("choose another network");
        }
    }
    Some(PrivateSettings {
        addresses,
        loopback: private.loopback.and_then(|net| loopback(c, net.0)),
        subnets,
        subnets_given,
        docker: docker.into_iter().filter_map(|net| if let IpNet::V4(net) = net { Some(net) } else { None }).collect(),
        resolvers: private.resolvers.iter().flatten().map(|r| r.0).collect(),
        idle: private.idle.map_or(d::PRIVATE_IDLE.0, |t| t.0),
        egress: private.egress.unwrap_or(true),
    })
}

/// Whether a network has an address in common with one of `others`.
pub(super) fn overlaps<N: Copy + Into<IpNet>>(net: impl Into<IpNet>, others: &[N]) -> bool {
    let net = net.into();
    others.iter().any(|other| overlap(net, *other))
}

/// A network that pieces are cut from.
fn v4(c: &mut Checks<'_>, path: &str, net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) if net.prefix_len() <= 24 && net.prefix_len() >= 8 => Some(net),
        _ => {
            c.error(path, format!("expected an IPv4 network from /8 to /24, found {net}"))
                .help("such as 10.214.0.0/16");
            None
        }
    }
}

fn loopback(c: &mut Checks<'_>, net: IpNet) -> Option<Ipv4Net> {
    match net {
        // Addresses that begin like 127.0.0.1 are those of programs and resolvers.
        IpNet::V4(net)
            if (16..=24).contains(&net.prefix_len()) && net.addr().is_loopback() && net.addr().octets()[1] > 0 =>
        {
            Some(net)
        }
        _ => {
            c.error(
                "private.loopback",
                format!("expected a network from /16 to /24 of loopback, beyond 127.0.0.0/16, found {net}"),
            )
            .help("such as 127.83.0.0/16");
            None
        }
    }
}

/// Where Docker's networks are cut from.
pub(super) fn of_docker(router: &model::Router) -> Vec<IpNet> {
    match &router.docker.subnets {
        Some(all) => all.iter().map(|net| net.0).collect(),
        None => d::SUBNETS.parse().into_iter().collect(),
    }
}
