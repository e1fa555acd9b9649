//! What each kind takes.

use super::*;

fn time(text: &str) -> Result<Duration, String> {
    parse::<Time>(text).map(|t| t.0)
}

#[test]
fn durations_have_units() {
    assert_eq!(time("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(time("60m"), Ok(Duration::from_secs(3600)));
    assert_eq!(time("1h30m"), Ok(Duration::from_secs(5400)));
    assert_eq!(time("0s"), Ok(Duration::ZERO));
    for bad in ["", "5", "s", "5 s", "-5s", "1.5h", "5x", "366d", "99999999999999999999s", "300d300d"] {
        assert!(time(bad).is_err(), "{bad}");
    }
    assert!(parse::<Positive>("0s").unwrap_err().contains("zero"));
    for (text, shown) in [("60m", "60m"), ("3h", "3h"), ("90s", "90s"), ("1500ms", "1500ms"), ("1s", "1s")] {
        assert_eq!(parse::<Time>(text).unwrap().to_string(), shown);
    }
    assert_eq!(Time(Duration::ZERO).to_string(), "0ms");
}

#[test]
fn sizes_have_units() {
    assert_eq!(parse::<Size>("64MiB").unwrap().0, 64 << 20);
    assert_eq!(parse::<Size>("5kB").unwrap().0, 5000);
    for bad in ["", "64", "MiB", "64 MiB", "0B", "9999999999999999TiB", "64mib"] {
        assert!(parse::<Size>(bad).is_err(), "{bad}");
    }
    assert_eq!(Size(64 << 20).to_string(), "64MiB");
}

#[test]
fn names_are_what_hosts_can_spell() {
    for good in ["a", "4711", "a-b", &"a".repeat(42)] {
        assert!(parse::<Id>(good).is_ok(), "{good}");
    }
    for bad in ["", "-a", "a-", "A", "a.b", "ä", &"a".repeat(43)] {
        assert!(parse::<Id>(bad).is_err(), "{bad}");
    }
    assert_eq!(parse::<Host>("Shop.Example.com").unwrap().0, "shop.example.com");
    for bad in ["a:80", "http://a", "*", "a..b", "*.*.a", "-a.b", "bücher.de"] {
        assert!(parse::<Host>(bad).is_err(), "{bad}");
    }
}

#[test]
fn addresses_and_networks() {
    assert!(parse::<Address>("[::1]:80").is_ok());
    assert!(parse::<Address>("localhost:80").unwrap_err().contains("127.0.0.1"));
    assert!(parse::<Address>("8080").unwrap_err().contains("address is missing"));
    assert_eq!(parse::<AdminAddress>("off").unwrap().0, None);
    assert_eq!(parse::<Cidr>("::1").unwrap().0.to_string(), "::1/128");
    assert!(parse::<Cidr>("10.1.0.0/8").unwrap_err().contains("10.0.0.0/8"));
    assert!(parse::<PortRange>("3000-2000").is_err());
    assert!(parse::<PortRange>("80-2000").is_err());
    assert!(parse::<PortRange>("+3000-+4000").is_err());
    for good in ["1", "3000", "65535"] {
        assert_eq!(parse::<PortNumber>(good).unwrap().0.to_string(), good);
    }
    for bad in ["", "0", "65536", "+3000", "03000", "-1", "3000 "] {
        assert!(parse::<PortNumber>(bad).is_err(), "{bad}");
    }
}

#[test]
fn paths_are_kept_without_a_slash_at_the_end() {
    assert_eq!(parse::<Prefix>("/").unwrap().0, "/");
    assert_eq!(parse::<Prefix>("/a/").unwrap().0, "/a");
    for bad in ["a", "/a?b", "/../x", "/a//b", "/ä"] {
        assert!(parse::<Prefix>(bad).is_err(), "{bad}");
    }
}
