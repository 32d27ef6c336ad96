//! A live channel: a WebSocket with the browser's cookies.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::header::COOKIE;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Browser, BrowserError};

/// An open channel. Dropping it ends it.
#[derive(Debug)]
pub struct Channel {
    socket: WebSocketStream<TcpStream>,
    patience: Duration,
}

/// Why there is no channel, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// It could not be tried.
    #[error(transparent)]
    Browser(#[from] BrowserError),
    /// The server answered with this status instead of opening a channel.
    #[error("refused with status {status}")]
    Refused {
        /// The status.
        status: http::StatusCode,
        /// What came with it.
        body: Vec<u8>,
    },
    /// It broke off or was closed.
    #[error("the channel broke off: {0}")]
    Broken(String),
    /// Patience is at its end.
    #[error("no answer in time")]
    TimedOut,
}

impl Browser {
    /// Opens a channel to `path`, and keeps the cookies that come with it.
    pub async fn channel(&mut self, path: &str) -> Result<Channel, ChannelError> {
        let url = self.origin.join(path).map_err(|bad| BrowserError::Url(bad.to_string()))?;
        let target = format!("ws{}", url.as_str().trim_start_matches("http"));
        let broken = |error: Error| ChannelError::Broken(error.to_string());
        let mut request = target.into_client_request().map_err(broken)?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        if let Some(cookies) = self.cookies(&url) {
            request.headers_mut().insert(COOKIE, cookies);
        }
        let open = async {
            let stream = TcpStream::connect(self.address).await.map_err(BrowserError::Connect)?;
            stream.set_nodelay(true).map_err(BrowserError::Connect)?;
            tokio_tungstenite::client_async(request, stream).await.map_err(|error| match error {
                Error::Http(response) => ChannelError::Refused {
                    status: response.status(),
                    body: response.into_body().unwrap_or_default(),
                },
                error => broken(error),
            })
        };
        let opened = timeout(self.patience, open).await.map_err(|_| ChannelError::TimedOut)?;
        let (socket, response) = opened?;
        self.keep_cookies(response.headers(), &url);
        Ok(Channel { socket, patience: self.patience })
    }
}

impl Channel {
    /// Sends a message and gives the next text that comes back.
    pub async fn ask(&mut self, text: &str) -> Result<String, ChannelError> {
        let broken = |error: Error| ChannelError::Broken(error.to_string());
        let answer = async {
            self.socket.send(Message::text(text)).await.map_err(broken)?;
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                    Some(Ok(Message::Close(_))) | None => {
                        return Err(ChannelError::Broken("closed".into()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(broken(error)),
                }
            }
        };
        timeout(self.patience, answer).await.map_err(|_| ChannelError::TimedOut)?
    }
}
