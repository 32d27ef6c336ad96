//! Certificates that are had from an authority by ACME (RFC 8555), and renewed in time.
//!
//! They are files like others, in the state directory, so listeners take a new one up as they take
//! up any that was renewed on disk, and a restart finds what there was. Until the first one is
//! there, a self-signed one that nobody believes keeps the listener open.

mod https;

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount,
    NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use self::https::Https;
use super::{Listeners, lock};
use crate::clock;
use crate::config::Listener;
use crate::tls::{self, AcmeChallenge, AcmeSpec, PairFiles, challenges, validity};

/// Between two looks at what is due.
const PERIOD: Duration = Duration::from_secs(2);

/// After a first failure; twice as long after each further one, up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// How long an authority may take.
const PATIENCE: Duration = Duration::from_secs(120);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Gives listeners with ACME the files of their certificate, and makes these if there are none.
pub(super) fn prepare(listeners: &mut [Listener], state_dir: &Path) -> Result<(), tls::Error> {
    for tls in listeners.iter_mut().filter_map(|listener| listener.tls.as_mut()) {
        let Some(acme) = &tls.incoming.acme else { continue };
        let pair = pair(acme, state_dir);
        if !pair.cert.exists() || !pair.key.exists() {
            let made = placeholder(acme, &pair);
            made.map_err(|problem| tls::Error::about(&pair.cert, &*problem))?;
        }
        if !tls.incoming.certificates.contains(&pair) {
            tls.incoming.certificates.push(pair);
        }
    }
    Ok(())
}

fn pair(acme: &AcmeSpec, state_dir: &Path) -> PairFiles {
    let directory = state_dir.join("acme");
    let name = acme.domains.first().map_or("none", String::as_str).replace('*', "_");
    PairFiles {
        cert: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    }
}

/// A certificate for the time until there is a better one; it is due from the beginning.
fn placeholder(acme: &AcmeSpec, pair: &PairFiles) -> Result<(), Failure> {
    let mut params = CertificateParams::new(acme.domains.clone())?;
    let now = OffsetDateTime::from(clock::system_time());
    (params.not_before, params.not_after) =
        (now - Duration::from_secs(365 * 86_400), now + Duration::from_secs(86_400));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(write_pair(pair, &certificate.pem(), &key.serialize_pem())?)
}

/// Writes the key first: until the certificate is there, too, the two do not fit, and what is in
/// use stays so.
fn write_pair(pair: &PairFiles, cert: &str, key: &str) -> io::Result<()> {
    write(&pair.key, key)?;
    write(&pair.cert, cert)
}

/// Writes a file that only we may read, at once or not at all.
fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let fresh = file.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut to = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    to.write_all(text.as_bytes())?;
    to.sync_all()?;
    fs::rename(fresh, file)
}

/// When to try again, and how long to wait after that if it fails.
struct Retry {
    at: Duration,
    pause: Duration,
}

/// Looks for certificates that are due, for good.
pub(super) async fn run(listeners: Listeners, state_dir: PathBuf) {
    let since = clock::Stopwatch::start();
    let mut retries: HashMap<PathBuf, Retry> = HashMap::new();
    let mut interval = tokio::time::interval(PERIOD);
    loop {
        interval.tick().await;
        for acme in wanted(&listeners) {
            let pair = pair(&acme, &state_dir);
            let is_early = retries.get(&pair.cert).is_some_and(|retry| since.elapsed() < retry.at);
            if is_early || !is_due(&pair.cert) {
                continue;
            }
            let domains = acme.domains.join(", ");
            let obtained = tokio::time::timeout(PATIENCE, obtain(&acme, &pair, &state_dir)).await;
            match obtained.unwrap_or_else(|_| Err("the authority takes too long".into())) {
                Ok(()) => {
                    tracing::info!(%domains, "a certificate was issued");
                    retries.remove(&pair.cert);
                }
                Err(error) => {
                    let pause = retries.get(&pair.cert).map_or(PAUSE, |retry| retry.pause);
                    tracing::error!(%domains, %error, again_in = ?pause, "no certificate was issued");
                    let next = (pause * 2).min(LONGEST_PAUSE);
                    retries.insert(pair.cert, Retry { at: since.elapsed() + pause, pause: next });
                }
            }
        }
    }
}

/// What is asked for by listeners, each once.
fn wanted(listeners: &Listeners) -> Vec<AcmeSpec> {
    let mut wanted: Vec<AcmeSpec> = Vec::new();
    for listener in lock(listeners).iter() {
        let spec = listener.entrance.tls.as_ref().and_then(|tls| tls.incoming.spec().acme.clone());
        wanted.extend(spec.filter(|spec| !wanted.contains(spec)));
    }
    wanted
}

/// Is a certificate in the last third of its life, or can it not be read?
fn is_due(cert: &Path) -> bool {
    let Ok((from, until)) = validity(cert) else { return true };
    let now = clock::system_time();
    let left = until.duration_since(now).unwrap_or_default();
    left < until.duration_since(from).unwrap_or_default() / 3
}

/// Has a certificate issued.
async fn obtain(acme: &AcmeSpec, pair: &PairFiles, state_dir: &Path) -> Result<(), Failure> {
    let account = account(acme, state_dir).await?;
    let names: Vec<_> = acme.domains.iter().map(|name| Identifier::Dns(name.clone())).collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    let mut answers = Answers::default();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            _ => return Err(format!("an authorization is {:?}", authorization.status).into()),
        }
        let kind = match acme.challenge {
            AcmeChallenge::Http01 => ChallengeType::Http01,
            AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let challenge = authorization.challenge(kind);
        let mut challenge = challenge.ok_or("the authority does not offer this challenge")?;
        let key = challenge.key_authorization();
        match acme.challenge {
            AcmeChallenge::Http01 => answers.by_token(&challenge.token, key.as_str()),
            AcmeChallenge::TlsAlpn01 => {
                let name = challenge.identifier().to_string();
                answers.by_name(&name, proof(&name, key.digest().as_ref())?);
            }
        }
        challenge.set_ready().await?;
    }
    let patience = RetryPolicy::default();
    match order.poll_ready(&patience).await? {
        OrderStatus::Ready => {}
        status => return Err(format!("the order is {status:?}").into()),
    }
    let key = KeyPair::generate()?;
    let request = CertificateParams::new(acme.domains.clone())?.serialize_request(&key)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&patience).await?;
    Ok(write_pair(pair, &chain, &key.serialize_pem())?)
}

/// The account with an authority; made if there is none.
async fn account(acme: &AcmeSpec, state_dir: &Path) -> Result<Account, Failure> {
    let builder = Account::builder_with_http(Box::new(Https::new(acme)?));
    // Each authority has its own.
    let name: String =
        acme.directory.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let file = state_dir.join("acme").join(format!("account-{name}.json"));
    if let Ok(text) = fs::read(&file) {
        let credentials: AccountCredentials = serde_json::from_slice(&text)?;
        return Ok(builder.from_credentials(credentials).await?);
    }
    let contact: Vec<_> = acme.contact.iter().map(String::as_str).collect();
    let terms_of_service_agreed = acme.agrees_to_terms;
    let account =
        NewAccount { contact: &contact, terms_of_service_agreed, only_return_existing: false };
    let (account, credentials) = builder.create(&account, acme.directory.clone(), None).await?;
    write(&file, &serde_json::to_string(&credentials)?)?;
    Ok(account)
}

/// The certificate that shows an authority that we know the answer (RFC 8737, section 3).
fn proof(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, Failure> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = CertificateDer::from(params.self_signed(&key)?);
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate], any_ecdsa_type(&key)?)))
}

/// Answers that are given for as long as an order is open.
#[derive(Default)]
struct Answers {
    tokens: Vec<String>,
    names: Vec<String>,
}

impl Answers {
    fn by_token(&mut self, token: &str, answer: &str) {
        challenges().expect_token(token, answer);
        self.tokens.push(token.to_owned());
    }

    fn by_name(&mut self, name: &str, certificate: Arc<CertifiedKey>) {
        challenges().expect_name(name, certificate);
        self.names.push(name.to_owned());
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.tokens.iter().for_each(|token| challenges().forget_token(token));
        self.names.iter().for_each(|name| challenges().forget_name(name));
    }
}
