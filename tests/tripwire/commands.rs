//! Every command.
use super::Stage;
pub async fn run(_stage: &mut Stage) {}
