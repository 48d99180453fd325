//! Deployments on a real node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use edgeprove_chain::{
    DeployError, Hash, Record,
    deployment::ContractRecord,
    transaction::{Creation, Fees},
};
use edgeprove_testkit::ethereum::{ANVIL_CHAIN, Anvil, FakeAnswer, FakeNode};
use serde_json::json;

use crate::support::{Memory, deploy, key, node};

const COIN: u128 = 1_000_000_000_000_000_000;
/// Longer than a test takes.
const LONG: Duration = Duration::from_secs(30);

/// Calls the verifier, which calls the library.
fn call(anvil: &Anvil, record: &Record) -> String {
    let verifier = record.contracts.last().unwrap().address;
    anvil
        .ask("eth_call", &json!([{ "to": verifier, "gas": "0x100000" }, "latest"]))
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn libraries_and_verifier_are_deployed_and_linked() {
    let anvil = Anvil::start();
    let (key, journal) = (key(7), Memory::default());
    let account = key.address().to_string();
    anvil.give_coins(&account, COIN);
    let record = deploy(&node(&anvil.url()), &key, &journal, LONG).await.unwrap();
    assert!(record.is_complete());
    assert_eq!(call(&anvil, &record), format!("0x{:064x}", 42));
    for contract in &record.contracts {
        let created = contract.created.unwrap();
        assert_eq!(contract.transactions, [created.transaction]);
        assert!(created.gas_used > 50_000 && created.block > 0, "{created:?}");
    }
    assert_eq!(journal.last(), record);

    // Each transaction was in the journal before it was sent, with the addresses of all contracts.
    let before = journal.0.lock()[0].clone();
    let addresses =
        |record: &Record| record.contracts.iter().map(|contract| contract.address).collect::<Vec<_>>();
    assert_eq!(addresses(&before), addresses(&record));
    assert_eq!(before.contracts[0].transactions, record.contracts[0].transactions);
    assert!(before.contracts[0].created.is_none() && before.contracts[1].transactions.is_empty());

    // The same again sends nothing.
    assert_eq!(deploy(&node(&anvil.url()), &key, &journal, LONG).await.unwrap(), record);
    assert_eq!(anvil.transactions(&account), 2);
}

/// The deployment is cut off after each of its questions, once before the node has it and once before the answer.
#[tokio::test]
async fn a_deployment_that_was_cut_off_deploys_nothing_twice() {
    let anvil = Anvil::start();
    let (to, mut cuts) = (anvil.address(), 0);
    let direct = node(&anvil.url());
    // The last one is not cut off: it asks less often.
    for at in 0_u32.. {
        assert!(at < 200, "no deployment asks so often");
        let mut was_cut = false;
        for is_forwarded in [false, true] {
            let (key, journal) = (key(1_000 + 2 * at + u32::from(is_forwarded)), Memory::default());
            let account = key.address().to_string();
            anvil.give_coins(&account, COIN);
            let asked = Arc::new(AtomicUsize::new(0));
            let (limit, counter) = (usize::try_from(at).unwrap(), Arc::clone(&asked));
            let breaking = FakeNode::start(move |_, _| match counter.fetch_add(1, Ordering::SeqCst) {
                before if before < limit => FakeAnswer::Forward(to),
                now if now == limit && is_forwarded => FakeAnswer::ForwardAndBreakOff(to),
                _ => FakeAnswer::BreakOff,
            });
            // On a busy machine it may also end because a block takes longer than this.
            let first = deploy(&node(&breaking.url()), &key, &journal, Duration::from_millis(20)).await;
            if asked.load(Ordering::SeqCst) > limit {
                assert!(first.is_err(), "cut at {at}");
                was_cut = true;
                cuts += 1;
            }
            let record = deploy(&direct, &key, &journal, LONG).await.unwrap();
            assert!(record.is_complete(), "cut at {at}");
            assert_eq!(anvil.transactions(&account), 2, "cut at {at}, {is_forwarded}: {record:?}");
            assert_eq!(call(&anvil, &record), format!("0x{:064x}", 42), "cut at {at}");
        }
        if !was_cut {
            break;
        }
    }
    assert!(cuts > 20, "{cuts}");
}

/// A record of contracts with these nonces, of which only the first was sent.
fn planned(account: edgeprove_chain::Address, first: u64) -> Record {
    let contract = |(nonce, name): (u64, &str)| ContractRecord {
        name: name.to_owned(),
        nonce,
        address: account.of_contract(nonce),
        transactions: if nonce == first { vec![Hash([7; 32])] } else { vec![] },
        created: None,
    };
    Record { contracts: [(first, "Library"), (first + 1, "Verifier")].map(contract).to_vec() }
}

#[tokio::test]
async fn nonces_that_others_took_are_replaced() {
    let anvil = Anvil::start();
    let send = |key: &edgeprove_chain::DeployerKey, nonce, code: &[u8]| {
        let fees = Fees::Legacy { price: 10_000_000_000 };
        let creation = Creation { chain_id: ANVIL_CHAIN, nonce, fees, gas_limit: 200_000, code };
        anvil.ask("eth_sendRawTransaction", &json!([format!("0x{}", hex::encode(creation.sign(key).bytes))]));
    };
    let (first, second) = (key(7), key(8));
    anvil.give_coins(&first.address().to_string(), COIN);
    anvil.give_coins(&second.address().to_string(), COIN);

    // The account did something else, which left no contract: our transaction can never be in a block.
    send(&first, 0, &[0xfe]);
    let journal = Memory::default();
    journal.0.lock().push(planned(first.address(), 0));
    let record = deploy(&node(&anvil.url()), &first, &journal, LONG).await.unwrap();
    let nonces: Vec<_> = record.contracts.iter().map(|contract| contract.nonce).collect();
    assert_eq!(nonces, [1, 2]);
    assert_eq!(call(&anvil, &record), format!("0x{:064x}", 42));

    // It created a contract. Whether that is ours cannot be known, so nothing is sent.
    send(&second, 0, &[0x60, 0x00, 0x60, 0x00, 0x53, 0x60, 0x01, 0x60, 0x00, 0xf3]);
    let journal = Memory::default();
    journal.0.lock().push(planned(second.address(), 0));
    let error = deploy(&node(&anvil.url()), &second, &journal, LONG).await.unwrap_err();
    assert!(matches!(error, DeployError::UnknownContract { .. }), "{error}");
    assert_eq!(anvil.transactions(&second.address().to_string()), 1);
}

#[tokio::test]
async fn an_account_needs_coins_for_the_whole_deployment() {
    let anvil = Anvil::start();
    let (poor, journal) = (key(9), Memory::default());
    for wei in [0, 1_000_000_000] {
        anvil.give_coins(&poor.address().to_string(), wei);
        let error = deploy(&node(&anvil.url()), &poor, &journal, LONG).await.unwrap_err();
        assert!(matches!(error, DeployError::TooFewCoins { balance, .. } if balance == wei), "{error}");
        assert!(error.to_string().contains(&poor.address().to_string()), "{error}");
    }
    assert!(journal.0.lock().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_transaction_that_waits_for_a_block_is_not_repeated() {
    let anvil = Anvil::start();
    let (key, journal) = (key(7), Memory::default());
    let account = key.address().to_string();
    anvil.give_coins(&account, COIN);
    anvil.ask("evm_setAutomine", &json!([false]));
    for _ in 0..2 {
        let error = deploy(&node(&anvil.url()), &key, &journal, Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, DeployError::NotInBlock { .. }), "{error}");
    }
    anvil.ask("evm_mine", &json!([]));
    anvil.ask("evm_setAutomine", &json!([true]));
    let record = deploy(&node(&anvil.url()), &key, &journal, LONG).await.unwrap();
    assert!(record.contracts.iter().all(|contract| contract.transactions.len() == 1), "{record:?}");
    assert_eq!(anvil.transactions(&account), 2);
}

#[tokio::test]
async fn contracts_that_a_chain_lost_are_deployed_again() {
    let anvil = Anvil::start();
    let (key, journal) = (key(7), Memory::default());
    let account = key.address().to_string();
    anvil.give_coins(&account, COIN);
    anvil.ask("anvil_setNonce", &json!([account, "0x5"]));
    let before = anvil.ask("evm_snapshot", &json!([]));
    let first = deploy(&node(&anvil.url()), &key, &journal, LONG).await.unwrap();

    // The blocks are reorganised: the nonces are free, and used again.
    anvil.ask("evm_revert", &json!([before]));
    assert_eq!(anvil.transactions(&account), 5);
    let stored = journal.0.lock().len();
    let second = deploy(&node(&anvil.url()), &key, &journal, LONG).await.unwrap();
    assert_eq!(call(&anvil, &second), format!("0x{:064x}", 42));
    assert_eq!(anvil.transactions(&account), 7);
    let addresses =
        |record: &Record| record.contracts.iter().map(|contract| contract.address).collect::<Vec<_>>();
    assert_eq!(addresses(&second), addresses(&first));
    assert!(!journal.0.lock()[stored].is_complete(), "it is noted before anything is sent");

    // Another chain with the same id has not reached those nonces.
    let other = Anvil::start();
    other.give_coins(&account, COIN);
    let third = deploy(&node(&other.url()), &key, &journal, LONG).await.unwrap();
    let nonces: Vec<_> = third.contracts.iter().map(|contract| contract.nonce).collect();
    assert_eq!(nonces, [0, 1]);
    assert_eq!(call(&other, &third), format!("0x{:064x}", 42));
    assert_eq!(journal.last(), third);

    // A chain that lost the last contract only keeps the first.
    let verifier = third.contracts[1].address;
    other.ask("anvil_setCode", &json!([verifier, "0x"]));
    let error = deploy(&node(&other.url()), &key, &journal, LONG).await.unwrap_err();
    assert!(matches!(error, DeployError::Contradiction { .. }), "{error}");
    let created: Vec<_> =
        journal.last().contracts.iter().map(|contract| contract.created.is_some()).collect();
    assert_eq!(created, [true, false]);
}
