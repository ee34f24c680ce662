//! JSON-RPC over HTTP with a bound on what a node may send back: an endless body must not fill the memory.

use std::task::{Context, Poll};

use alloy::rpc::json_rpc::{ErrorPayload, RequestPacket, ResponsePacket};
use alloy::transports::http::reqwest::{Client, Response};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut, TransportResult};
use tower_service::Service;

use super::endpoint::Url;

/// The most that one answer may be. Logs of a wide range may be more, and are then asked for in narrower ones.
const LARGEST_BODY: usize = 32 << 20;

/// The code that nodes with a limit of their own give to an answer that is too large (EIP-1474: limit exceeded).
const TOO_LARGE: i64 = -32005;

/// One node.
#[derive(Clone)]
pub(super) struct BoundedHttp {
    client: Client,
    url: Url,
    /// In bytes.
    largest: usize,
}

impl BoundedHttp {
    pub(super) fn new(client: Client, url: Url) -> Self {
        Self { client, url, largest: LARGEST_BODY }
    }

    async fn exchange(self, request: RequestPacket) -> TransportResult<ResponsePacket> {
        let question = self.client.post(self.url).headers(request.headers()).json(&request);
        let response = question.send().await.map_err(TransportErrorKind::custom)?;
        let status = response.status();
        let body = body_of(response, self.largest).await?;
        let answer = serde_json::from_slice::<ResponsePacket>(&body);
        match answer {
            Ok(answer) if status.is_success() || answer.is_error() => Ok(answer),
            Err(error) if status.is_success() => {
                Err(TransportError::deser_err(error, String::from_utf8_lossy(&body)))
            }
            _ => Err(TransportErrorKind::http_error(
                status.as_u16(),
                String::from_utf8_lossy(&body).into_owned(),
            )),
        }
    }
}

async fn body_of(mut response: Response, largest: usize) -> TransportResult<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(TransportErrorKind::custom)? {
        if body.len() + chunk.len() > largest {
            return Err(TransportError::err_resp(ErrorPayload {
                code: TOO_LARGE,
                message: format!("response size exceeds {largest} bytes").into(),
                data: None,
            }));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

impl Service<RequestPacket> for BoundedHttp {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<TransportResult<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().exchange(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::rpc::client::RpcClient;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// The answer of a node that sends `body` for ever, or once.
    async fn asked(largest: usize, body: &'static str, endless: bool) -> TransportResult<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let http = BoundedHttp { client: Client::new(), url, largest };
        let client = RpcClient::new(http, false);
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4_096]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
            while stream.write_all(body.as_bytes()).await.is_ok() && endless {}
        };
        let answer = client.request_noparams::<String>("eth_chainId");
        let (answer, ()) = tokio::join!(answer, serve);
        answer
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut_off_and_one_within_bounds_is_read() {
        let body = r#"{"jsonrpc":"2.0","id":0,"result":"0x1"}"#;
        assert_eq!(asked(1_000, body, false).await.unwrap(), "0x1");
        assert!(asked(body.len(), body, false).await.is_ok());
        assert!(asked(body.len() - 1, body, false).await.is_err());
        let endless = asked(1 << 20, "                ", true).await.unwrap_err();
        assert!(endless.to_string().contains("response size exceeds"), "{endless}");
    }
}
