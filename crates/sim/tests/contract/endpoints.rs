//! Registry endpoints, as recorded in `registries`.

use crate::stage::{Stage, recording};

#[tokio::test]
async fn endpoints_answer_as_recorded() {
    let mut stage = Stage::bare(100.0).await;
    for exchange in recording("registries") {
        // Lists of adapters of other makers: the sandbox has Harbors only.
        if exchange.path().contains("/replication/adapter") {
            continue;
        }
        stage.replay(&exchange, &[]).await;
    }
}
