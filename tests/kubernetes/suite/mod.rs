//! The whole router with `backend: kubernetes`, seen from outside: from its clients, and from the cluster.

mod absence;
mod attach;
mod changes;
mod cold;
mod fails;
mod many;
mod names;
mod names_of_several;
mod plan;
mod pods;
mod prepare;
mod restart;
mod rig;
mod rights;
mod several;
mod taken;
