//! The sample landscape: files that are part of the program, written where they can be looked at and
//! changed.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::cli::remote::Failure;

const ROUTER: &str = include_str!("../../../config/demo/router.yaml");
const FILES: [(&str, &str); 3] = [
    ("app/ci.yml", include_str!("../../../config/demo/app/ci.yml")),
    ("app/app.py", include_str!("../../../config/demo/app/app.py")),
    ("app/web/index.html", include_str!("../../../config/demo/app/web/index.html")),
];

/// The host of the sample landscape.
pub(super) const HOST: &str = "demo.localhost";

/// A written sample.
#[derive(Debug)]
pub(super) struct Sample {
    /// Where its files are.
    pub folder: PathBuf,
    /// Where it is served.
    pub http: SocketAddr,
    /// The router's admin listener.
    pub admin: SocketAddr,
}

impl Sample {
    /// Writes the files; listens where router.yaml says if that is free, else on a port close by.
    pub(super) fn write(folder: Option<PathBuf>) -> Result<Self, Failure> {
        let folder = match folder {
            Some(folder) => folder,
            None => state_folder()?.join("landscape-router/demo"),
        };
        let python = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("python3").is_file()));
        if !python {
            let text = "the demo's services are Python programs, and there is no python3; install it (Debian and \
                        Ubuntu: apt-get install python3) and try again";
            return Err(Failure::Failed(text.into()));
        }
        let (http, admin) = (free_port(8080)?, free_port(9090)?);
        let router = ROUTER.replace("127.0.0.1:8080", &http.to_string()).replace("127.0.0.1:9090", &admin.to_string());
        write(&folder.join("router.yaml"), &router)?;
        for (name, text) in FILES {
            write(&folder.join(name), text)?;
        }
        let folder = fs::canonicalize(&folder).map_err(|e| unwritable(&folder, &e))?;
        Ok(Self { folder, http, admin })
    }

    /// A URL of the landscape.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{HOST}:{}{path}", self.http.port())
    }
}

fn state_folder() -> Result<PathBuf, Failure> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
        .ok_or_else(|| Failure::Failed("HOME is not set; say by --folder where the demo's files should go".into()))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let write = || {
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(file, text)
    };
    write().map_err(|e| unwritable(file, &e))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{} cannot be written: {error}; --folder names another place", path.display()))
}

/// The first port from `wish` on that nobody listens on.
fn free_port(wish: u16) -> Result<SocketAddr, Failure> {
    (wish..wish.saturating_add(100))
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .ok_or_else(|| Failure::Failed(format!("no port of 127.0.0.1 from {wish} on is free")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_listens_where_its_file_says() {
        assert!(ROUTER.contains("127.0.0.1:8080") && ROUTER.contains("127.0.0.1:9090"));
    }

    #[test]
    fn a_port_that_is_taken_is_left() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port().min(65_000);
        assert!(free_port(port).is_ok_and(|free| free != taken.local_addr().unwrap()));
    }
}
