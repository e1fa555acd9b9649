//! What this machine gives to the private network of a configuration, told by `check`: looked at and
//! never changed, with the rights of whoever asks.

use std::path::Path;
use std::sync::Arc;

use crate::app::state;
use crate::capabilities;
use crate::config::settings::{BackendKind, Namespaces, PrivateSettings, Settings};
use crate::private::ground::{self, Lack, Survey};
use crate::private::{ports_of, usual_range};
use crate::yaml::{Mistake, Place, Severity};

/// What can be had by these settings.
pub(super) fn survey(settings: &Settings) -> Survey {
    if by_user_namespace(settings) { ground::user::survey() } else { ground::rights() }
}

/// Whether the private network is in a user namespace: for whoever asks, who should be the router's user.
fn by_user_namespace(settings: &Settings) -> bool {
    let asked = settings.private.is_some() && settings.process.namespaces == Namespaces::User;
    asked && !capabilities::for_networks()
}

/// What is missing for the private network, if these settings use one.
pub(super) fn private(settings: &Settings, file: &Path, survey: &Survey) -> Vec<Mistake> {
    let known = settings.landscapes.iter().filter_map(|l| l.spec.as_ref().ok());
    let used = known.flat_map(|spec| spec.services.values()).any(|s| !ports_of(s).is_empty());
    let (Some(private), true) = (&settings.private, used) else { return Vec::new() };
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
    let collisions = if by_user_namespace(settings) { Vec::new() } else { overlaps(private, &settings.state) };
    for (field, lack) in collisions {
        all.push(tell(Severity::Warning, field, lack.what().to_owned(), lack.remedy().to_owned()));
    }
    match survey.lacks().next().filter(|_| !survey.can_isolate()) {
        Some(lack) => {
            let message = format!("services do not find each other by name here: {}", lack.what());
            let remedy = format!("{}; `private: \"off\"` if that is as wanted", lack.remedy());
            all.push(tell(Severity::Note, "private", message, remedy));
        }
        None if private.egress && apart(settings, survey) && runs_processes(settings) => {
            all.extend(survey.egress.as_ref().map(|lack| match ground::may_forward() {
                true => tell(
                    Severity::Note,
                    "private.egress",
                    "this machine forwards no packets, and the router will have it do so".to_owned(),
                    "`egress: false` leaves it as it is, and replicas without the outside".to_owned(),
                ),
                false => {
                    let (what, remedy) = (lack.what().to_owned(), lack.remedy().to_owned());
                    tell(Severity::Note, "private.egress", what, remedy)
                }
            }));
        }
        None => {}
    }
    all
}

/// Whether process replicas have networks of their own.
pub(super) fn apart(settings: &Settings, survey: &Survey) -> bool {
    settings.private.is_some() && settings.process.namespaces != Namespaces::Off && survey.can_isolate()
}

fn runs_processes(settings: &Settings) -> bool {
    settings.landscapes.iter().flat_map(|l| &l.policies).any(|(_, p)| p.backend == BackendKind::Process)
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

    fn told(settings: &Settings, survey: &Survey) -> Vec<String> {
        private(settings, Path::new("r"), survey).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_missing_is_a_note_with_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        // Nobody has these, which are for documentation.
        let free = "addresses: 198.51.100.0/24, subnets: [203.0.113.0/24]";
        let on = settings(dir.path(), &format!("private: {{ {free} }}"));
        let none = Survey { filters: lacking("no nft"), ..Survey::default() };
        let note = "r: note: private: services do not find each other by name here: no nft; get it; `private: \"off\"` if \
                    that is as wanted";
        assert_eq!(told(&on, &none), [note]);
        assert!(!apart(&on, &none) && apart(&on, &Survey::default()));
        assert_eq!(told(&on, &Survey::default()), [""; 0]);
        assert_eq!(told(&settings(dir.path(), "private: 'off'"), &none), [""; 0]);
        let inward = Survey { egress: lacking("no forwarding"), ..Survey::default() };
        assert!(told(&on, &inward)[0].starts_with("r: note: private.egress: "));
        for quiet in
            [format!("private: {{ {free}, egress: false }}"), format!("private: {{ {free} }}\nbackend: docker")]
        {
            assert_eq!(told(&settings(dir.path(), &quiet), &inward), [""; 0]);
        }
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
