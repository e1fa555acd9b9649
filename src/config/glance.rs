//! What has to be known of router.yaml before there is anything that could read all of it.

use std::path::{Path, PathBuf};

use super::build::build;
use super::defaults as d;
use super::model;
use crate::yaml::{self, Diagnostics, Severity};

/// See the module's words.
#[derive(Debug, PartialEq, Eq)]
pub struct Glance {
    /// The state folder, absolute.
    pub state: PathBuf,
    /// Whether replicas are to get network namespaces by a user namespace.
    pub user_namespaces: bool,
}

/// Looks at a router.yaml alone. Nothing where that cannot be read: [`load`](super::load()) says why.
pub fn glance(file: &Path) -> Option<Glance> {
    let path = std::path::absolute(file).ok()?;
    let bytes = yaml::file::read(&path).ok()?;
    let name = std::sync::Arc::new(path.clone());
    let (root, _) = yaml::parse(name.clone(), &bytes, Severity::Error);
    let router = build(&root?, &mut Diagnostics::hidden(name))?;
    let private = !matches!(router.private, Some(model::Private::Word(model::Off::Off)));
    Some(Glance {
        state: path.parent().unwrap_or(Path::new("/")).join(router.state.as_deref().unwrap_or(d::STATE)),
        user_namespaces: private && router.process.namespaces == Some(model::Namespaces::User),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Glance> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("router.yaml");
        std::fs::write(&file, text).unwrap();
        let mut glance = glance(&file)?;
        glance.state = glance.state.strip_prefix(dir.path()).unwrap().to_owned();
        Some(glance)
    }

    #[test]
    fn it_sees_where_the_state_is_and_whether_user_namespaces_are_asked_for() {
        let at = |state: &str, user_namespaces| Some(Glance { state: state.into(), user_namespaces });
        assert_eq!(of("landscapes: []\n"), at(".landscape-router", false));
        assert_eq!(of("state: here\nprocess: { namespaces: user }\nlandscapes: []\n"), at("here", true));
        assert_eq!(of("private: off\nprocess: { namespaces: user }\nlandscapes: []\n"), at(".landscape-router", false));
        assert_eq!(of("landscapes: [\n"), None);
    }
}
