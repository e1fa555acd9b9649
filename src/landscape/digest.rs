//! What a running replica depends on, in 16 digits.

use super::spec::{Health, LandscapeSpec, RunDigest, ServiceSpec, Step, Workload};
use sha2::{Digest, Sha256};

/// Length-prefixed fields, so that no two specs run together.
struct Feed(Sha256);

impl Feed {
    fn put(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
    fn steps(&mut self, steps: &[Step]) {
        for s in steps {
            self.put(s.name.as_deref().unwrap_or(""));
            self.put(&s.command);
        }
    }
}

/// See [`LandscapeSpec::prepare_digest`].
pub(super) fn of_prepare(spec: &LandscapeSpec) -> String {
    let mut f = Feed(Sha256::new());
    f.put(spec.home.root.as_os_str().as_encoded_bytes());
    f.steps(&spec.prepare);
    f.0.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn of(spec: &ServiceSpec) -> RunDigest {
    let mut f = Feed(Sha256::new());
    f.put(spec.key.to_string());
    f.put(&*spec.home.team);
    f.put(&*spec.home.dev_domain);
    f.put(spec.home.root.as_os_str().as_encoded_bytes());
    match &spec.workload {
        Workload::Reactive { steps, base } => {
            f.put("reactive");
            f.put(base.as_deref().unwrap_or(""));
            f.steps(steps);
        }
        Workload::Container { image, command } => {
            f.put("container");
            f.put(&*image.text);
            for c in command.iter().flatten() {
                f.put(c);
            }
        }
        Workload::CustomBase { image, steps } => {
            f.put("custom");
            f.put(&*image.text);
            f.steps(steps);
        }
        Workload::Headless => f.put("headless"),
        Workload::Managed { provider } => {
            f.put("managed");
            f.put(provider);
        }
    }
    f.put(spec.plan.cpu.to_bits().to_le_bytes());
    f.put(spec.plan.memory.to_le_bytes());
    match &spec.health {
        Health::Default => f.put("default"),
        Health::Http { port, path, tls } => f.put(format!("http {port} {path} {tls}")),
        Health::Tcp { port } => f.put(format!("tcp {port}")),
    }
    for p in spec.all_ports() {
        f.put(p.to_le_bytes());
    }
    for (k, v) in &spec.env {
        f.put(k);
        f.put(&*v.text);
    }
    f.put(format!("{:?} {:?}", spec.user, spec.group));
    for m in &spec.mounts {
        f.put(&m.workspace_path);
        f.put(&m.mount_path);
    }
    let out = f.0.finalize();
    RunDigest(out.iter().take(8).map(|b| format!("{b:02x}")).collect())
}
