//! What this machine gives to the private network of a configuration, told by `check`: looked at and
//! never changed, with the rights of whoever asks.

use std::path::Path;
use std::sync::Arc;

use ipnet::Ipv4Net;

use crate::app::state;
use crate::capabilities;
use crate::config::settings::{BackendKind, Namespaces, PrivateSettings, Settings};
use crate::private::ground::hosts_file::Sight;
use crate::private::ground::{self, Lack, Survey};
use crate::private::{ports_of, usual_range};
use crate::yaml::{Mistake, Place, Severity};

/// What is to be told, and whether process replicas have networks of their own. `on_processes`: whether any
/// service runs as one.
pub(super) fn look(settings: &Settings, file: &Path, on_processes: bool) -> (Vec<Mistake>, bool) {
    // Whoever asks should be the router's user.
    let by_user_namespace = settings.process.namespaces == Namespaces::User && !capabilities::for_networks();
    let survey = if by_user_namespace { ground::user::survey } else { ground::rights };
    judge(settings, file, on_processes, by_user_namespace, survey, Sight::survey)
}

fn judge(
    settings: &Settings,
    file: &Path,
    on_processes: bool,
    by_user_namespace: bool,
    survey: impl FnOnce() -> Survey,
    sight: impl FnOnce() -> Result<Sight, Lack>,
) -> (Vec<Mistake>, bool) {
    // What nobody asks for is not tried.
    let Some(private) = &settings.private else { return (Vec::new(), false) };
    let survey = survey();
    let known = settings.landscapes.iter().filter_map(|l| l.spec.as_ref().ok());
    let used = known.flat_map(|spec| spec.services.values()).any(|s| !ports_of(s).is_empty());
    let tell = |severity, field: &str, message: String, remedy: String| Mistake {
        severity,
        file: Arc::new(file.to_owned()),
        place: Place::default(),
        field: field.to_owned(),
        message,
        remedy: Some(remedy),
        excerpt: None,
    };
    let mut all = Vec::new();
    // What this machine uses is of no interest elsewhere.
    if used && !by_user_namespace {
        let warn = |(field, lack): (&str, Lack)| {
            tell(Severity::Warning, field, lack.what().to_owned(), lack.remedy().to_owned())
        };
        all.extend(overlaps(private, &settings.state).into_iter().map(warn));
    }
    if !survey.can_isolate() {
        let Some(lack) = survey.lacks().next().filter(|_| used) else { return (all, false) };
        let (message, remedy) = match private.loopback {
            Some(range) => on_loopback(range, lack, sight()),
            None => (
                format!("services do not find each other by name here: {}", lack.what()),
                format!(
                    "{}; `private.loopback` does with addresses of loopback, `private: \"off\"` without any",
                    lack.remedy()
                ),
            ),
        };
        all.push(tell(Severity::Note, "private", message, remedy));
        let low = private.loopback.map(|_| low_ports(settings, first_free_port())).unwrap_or_default();
        all.extend((!low.is_empty()).then(|| {
            let message = format!("the router may not listen below 1024, where other services will not reach {low}");
            let remedy = "declare ports from 1024 on, or give the router CAP_NET_BIND_SERVICE".to_owned();
            tell(Severity::Warning, "private.loopback", message, remedy)
        }));
        return (all, false);
    }
    if used && on_processes && settings.process.namespaces == Namespaces::Off {
        let message =
            "services find each other by name on this machine's network, where nothing keeps landscapes apart";
        let remedy = "`auto` gives each replica a network of its own";
        all.push(tell(Severity::Note, "process.namespaces", message.to_owned(), remedy.to_owned()));
    }
    // Where it may, the router sets forwarding whatever runs on its network; nothing leads out of a user namespace.
    let told_of_egress = private.egress && (on_processes || !by_user_namespace);
    all.extend(survey.egress.as_ref().filter(|_| told_of_egress).map(|lack| {
        let (message, remedy) = match !by_user_namespace && ground::may_forward() {
            true => (
                "this machine forwards no packets, and the router will have it do so",
                "`egress: false` leaves it as it is, and replicas without the outside",
            ),
            false => (lack.what(), lack.remedy()),
        };
        tell(Severity::Note, "private.egress", message.to_owned(), remedy.to_owned())
    }));
    let containers =
        settings.landscapes.iter().flat_map(|l| &l.policies).any(|(_, p)| p.backend == BackendKind::Docker);
    if by_user_namespace && used && containers {
        let message = "containers are not on the private network, which is in a user namespace";
        let remedy = "for containers run the router as root, with `process.namespaces: auto`";
        all.push(tell(Severity::Note, "process.namespaces", message.to_owned(), remedy.to_owned()));
    }
    (all, settings.process.namespaces != Namespaces::Off)
}

/// What there is without the rights, and its price.
fn on_loopback(range: Ipv4Net, lack: &Lack, sight: Result<Sight, Lack>) -> (String, String) {
    let (found, more) = match sight {
        Ok(_) => ("by name".to_owned(), String::new()),
        Err(lack) => (format!("by variables, and not by name, for {}", lack.what()), format!("; {}", lack.remedy())),
    };
    let message = format!(
        "services have addresses on loopback, of {range}, and are found {found}; nothing keeps landscapes apart, and \
         replicas have to listen at PORT: {}",
        lack.what()
    );
    (message, format!("{}{more}", lack.remedy()))
}

/// Declared ports of services that are below `first`: `shop/web:80`.
fn low_ports(settings: &Settings, first: u16) -> String {
    let known = settings.landscapes.iter().filter_map(|l| l.spec.as_ref().ok());
    let services = known.flat_map(|spec| spec.services.values());
    let ports = services.flat_map(|s| ports_of(s).into_iter().map(move |port| (&s.key, port)));
    let low = ports.filter(|(_, port)| *port < first).map(|(key, port)| format!("{key}:{port}"));
    low.collect::<Vec<_>>().join(", ")
}

/// From here on this program may listen.
fn first_free_port() -> u16 {
    if capabilities::for_low_ports() {
        return 0;
    }
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    first.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

/// Ranges that this machine uses already, what an earlier router of the same state made there aside.
fn overlaps(private: &PrivateSettings, state: &Path) -> Vec<(&'static str, Lack)> {
    let instance = match state::known_instance(state) {
        Ok(instance) => instance,
        // Whose bridges these are is not ours to know.
        Err(_) => return Vec::new(),
    };
    // Without a state there is nothing of it either.
    let instance = instance.as_deref().unwrap_or_default();
    let addresses = match private.addresses {
        Some(net) => ground::vacant(instance, &[net], &[]).err(),
        None => usual_range(instance, private).err(),
    };
    let subnets = private.subnets.iter().filter_map(|net| ground::vacant(instance, &[], &[*net]).err());
    let mut all: Vec<_> = addresses.map(|lack| ("private.addresses", lack)).into_iter().collect();
    all.extend(subnets.map(|lack| ("private.subnets", lack)));
    all
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ipnet::Ipv4Net;

    use super::*;
    use crate::config::{Purpose, load};

    /// Loopback's network is in use on every machine.
    const TAKEN: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

    fn settings(dir: &Path, more: &str) -> Settings {
        let ci = "schemaVersion: v0.4\nrun:\n  web: {steps: [{command: x}], network: {ports: [{port: 3000}]}}\n";
        std::fs::create_dir_all(dir.join("shop")).unwrap();
        std::fs::write(dir.join("shop/ci.yml"), ci).unwrap();
        let file = dir.join("router.yaml");
        std::fs::write(&file, format!("state: state\n{more}\nlandscapes:\n  - {{ id: shop, root: shop }}\n")).unwrap();
        load(&file, Purpose::Check).settings.unwrap()
    }

    fn lacking(what: &str) -> Option<Lack> {
        Some(Lack::new(what, "get it"))
    }

    fn judged(settings: &Settings, by_user_namespace: bool, survey: &Survey) -> (Vec<String>, bool) {
        let (all, apart) =
            judge(settings, Path::new("r"), true, by_user_namespace, || survey.clone(), || Ok(Sight::Mount));
        (all.iter().map(ToString::to_string).collect(), apart)
    }

    fn told(settings: &Settings, survey: &Survey) -> Vec<String> {
        judged(settings, false, survey).0
    }

    #[test]
    fn what_is_missing_is_a_note_with_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        // Nobody has these, which are for documentation.
        let free = "addresses: 198.51.100.0/24, subnets: [203.0.113.0/24]";
        let on = settings(dir.path(), &format!("private: {{ {free} }}"));
        let none = Survey { filters: lacking("no nft"), ..Survey::default() };
        let note = "r: note: private: services do not find each other by name here: no nft; get it; `private.loopback` does \
                    with addresses of loopback, `private: \"off\"` without any";
        assert_eq!(told(&on, &none), [note]);
        assert!(!judged(&on, false, &none).1 && judged(&on, false, &Survey::default()).1);
        assert_eq!(told(&on, &Survey::default()), [""; 0]);
        let off = settings(dir.path(), "private: 'off'");
        let unasked =
            judge(&off, Path::new("r"), true, false, || panic!("nothing is to be tried"), || panic!("nor this"));
        assert!(unasked.0.is_empty() && !unasked.1);
        let alone = settings(dir.path(), &format!("private: {{ {free} }}\nprocess: {{ namespaces: 'off' }}"));
        let (here, apart) = judged(&alone, false, &Survey::default());
        assert!(
            !apart && here.len() == 1 && here[0].contains("process.namespaces: services find each other"),
            "{here:?}"
        );
        let inward = Survey { egress: lacking("no forwarding"), ..Survey::default() };
        // The router has the machine forward whatever runs there.
        let containers = settings(dir.path(), &format!("private: {{ {free} }}\nbackend: docker"));
        for on in [&on, &alone, &containers] {
            let mut told = told(on, &inward);
            told.retain(|note| {
                !note.contains("process.namespaces: services find each other by name on this machine's")
            });
            assert!(told.len() == 1 && told[0].starts_with("r: note: private.egress: "), "{told:?}");
        }
        assert_eq!(told(&settings(dir.path(), &format!("private: {{ {free}, egress: false }}")), &inward), [""; 0]);
    }

    #[test]
    fn on_loopback_it_says_what_holds_and_which_ports_are_lost() {
        let dir = tempfile::tempdir().unwrap();
        let on = settings(dir.path(), "private: { loopback: 127.83.0.0/16, addresses: 198.51.100.0/24 }");
        let none = Survey { namespaces: lacking("no right"), ..Survey::default() };
        let told = |sight: Result<Sight, Lack>| {
            let (all, _) = judge(&on, Path::new("r"), true, false, || none.clone(), || sight);
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let start = "r: note: private: services have addresses on loopback, of 127.83.0.0/16, and are found";
        let end = "nothing keeps landscapes apart, and replicas have to listen at PORT: no right; get it";
        assert_eq!(told(Ok(Sight::UserNamespace)), [format!("{start} by name; {end}")]);
        let lack = Err(Lack::new("no user namespace", "get that"));
        let by_variables = format!("{start} by variables, and not by name, for no user namespace; {end}; get that");
        assert_eq!(told(lack), [by_variables]);
        assert_eq!((low_ports(&on, 1024), low_ports(&on, 3001)), (String::new(), "shop/web:3000".into()));
    }

    #[test]
    fn a_user_namespace_leads_nowhere_and_leaves_containers_out() {
        let dir = tempfile::tempdir().unwrap();
        let inward = Survey { egress: lacking("no way out"), ..Survey::default() };
        let egress = "r: note: private.egress: no way out; get it";
        let containers = "r: note: process.namespaces: containers are not on the private network, which is in a user \
                          namespace; for containers run the router as root, with `process.namespaces: auto`";
        let processes = settings(dir.path(), "process: { namespaces: user }");
        assert_eq!(judged(&processes, true, &inward), (vec![egress.to_owned()], true));
        let both = settings(dir.path(), "process: { namespaces: user }\nbackend: docker");
        assert_eq!(judged(&both, true, &inward), (vec![egress.to_owned(), containers.to_owned()], true));
        let (told, _) = judge(&both, Path::new("r"), false, true, || inward, || Ok(Sight::Mount));
        assert_eq!(told.iter().map(ToString::to_string).collect::<Vec<_>>(), [containers]);
    }

    #[test]
    fn a_range_that_the_machine_uses_is_a_warning_and_the_state_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path(), "");
        let private = settings.private.as_mut().unwrap();
        (private.addresses, private.subnets) = (Some(TAKEN), vec![TAKEN]);
        let told = told(&settings, &Survey::default());
        assert!(
            told[0].starts_with("r: warning: private.addresses: the private range 127.0.0.0/8 overlaps "),
            "{told:?}"
        );
        assert!(told[1].starts_with("r: warning: private.subnets: "), "{told:?}");
        assert!(!settings.state.exists());
    }

    #[test]
    fn a_usual_range_is_none_that_the_configuration_has_for_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let usual = "subnets: [10.212.0.0/16, 172.29.0.0/16, 192.168.192.0/20, 198.18.0.0/16]";
        for all in [format!("docker: {{ {usual} }}"), format!("private: {{ {usual} }}")] {
            let told = told(&settings(dir.path(), &all), &Survey::default());
            assert!(told.iter().any(|m| m.contains("none of the usual ranges")), "{all}: {told:?}");
        }
    }
}
