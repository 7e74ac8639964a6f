//! Connections whose `:authority` is made one that HTTP allows.
//!
//! Kubelet dials a registration socket by its path, and gRPC then sends that path, escaped, as authority. The HTTP/2
//! library refuses such a request before any service sees it (RFC 3986, section 3.2.2: `%2F` is no part of a host).
//! So the header blocks of these connections are rewritten on the way in; everything else passes as it is.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex, split},
    net::{UnixListener, UnixStream},
};
use tokio_stream::{Stream, StreamExt as _, wrappers::UnixListenerStream};

const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
/// The largest frame that a client may send to a server that has not allowed more (RFC 9113, section 4.2).
const FRAME_MAX: usize = 16_384;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The connections of a listener, with their authority made valid.
pub(crate) fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<DuplexStream>> {
    UnixListenerStream::new(listener).map(|connection| connection.map(lenient))
}

fn lenient(connection: UnixStream) -> DuplexStream {
    let (ours, theirs) = duplex(4 * FRAME_MAX);
    tokio::spawn(async move {
        let (mut from_client, mut to_client) = connection.into_split();
        let (mut from_server, mut to_server) = split(ours);
        let there = async {
            let passed = pass(&mut from_client, &mut to_server).await;
            to_server.shutdown().await.and(passed)
        };
        let back = tokio::io::copy(&mut from_server, &mut to_client);
        if let Err(error) = tokio::try_join!(there, back) {
            tracing::debug!(%error, "a registration connection ended");
        }
    });
    theirs
}

/// Passes a client's bytes on, header blocks rewritten.
async fn pass<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(client: &mut R, server: &mut W) -> io::Result<()> {
    let mut preface = [0; PREFACE];
    client.read_exact(&mut preface).await?;
    server.write_all(&preface).await?;
    let mut decoder = fluke_hpack::Decoder::new();
    let mut header = [0; FRAME_HEADER];
    loop {
        match client.read_exact(&mut header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        };
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        if length > FRAME_MAX {
            return Err(invalid("a frame is too long"));
        }
        let mut payload = vec![0; length];
        client.read_exact(&mut payload).await?;
        if header[3] == HEADERS {
            payload = rewritten(&mut decoder, header[4], &payload)?;
            header[4] = (header[4] & !(PADDED | PRIORITY)) | END_HEADERS;
            let length = u32::try_from(payload.len())
                .map_err(|_| invalid("headers are too long"))?
                .to_be_bytes();
            header[..3].copy_from_slice(&length[1..]);
        }
        server.write_all(&header).await?;
        server.write_all(&payload).await?;
        server.flush().await?;
    }
}

/// The header block of a frame, with `localhost` as authority, and without padding and priority.
fn rewritten(decoder: &mut fluke_hpack::Decoder<'_>, flags: u8, payload: &[u8]) -> io::Result<Vec<u8>> {
    if flags & END_HEADERS == 0 {
        return Err(invalid("headers are spread over several frames"));
    }
    let padding = if flags & PADDED == 0 {
        0
    } else {
        usize::from(*payload.first().unwrap_or(&0))
    };
    let skipped = usize::from(flags & PADDED != 0) + if flags & PRIORITY == 0 { 0 } else { 5 };
    let block = payload
        .len()
        .checked_sub(padding)
        .and_then(|end| payload.get(skipped..end));
    let block = block.ok_or_else(|| invalid("a frame of headers is too short"))?;
    let headers = decoder
        .decode(block)
        .map_err(|error| invalid(&format!("headers cannot be read: {error:?}")))?;
    let headers = headers.into_iter().map(|(name, value)| {
        let value = if name == b":authority" {
            b"localhost".to_vec()
        } else {
            value
        };
        (name, value)
    });
    let mut block = Vec::new();
    for (name, value) in headers {
        literal(&mut block, &name, &value)?;
    }
    Ok(block)
}

/// A header as a literal that no table remembers (RFC 7541, section 6.2.2).
fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) -> io::Result<()> {
    block.push(0);
    for text in [name, value] {
        match u8::try_from(text.len()) {
            Ok(short) if short < 127 => block.push(short),
            // A length from 127 on goes over into bytes of seven bits (section 5.1).
            _ => {
                block.push(127);
                let mut rest = text
                    .len()
                    .checked_sub(127)
                    .ok_or_else(|| invalid("a header is too short"))?;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).unwrap_or_default());
            }
        }
        block.extend_from_slice(text);
    }
    Ok(())
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    async fn through(frames: &[Vec<u8>]) -> io::Result<Vec<u8>> {
        let input = [vec![b'p'; PREFACE], frames.concat()].concat();
        let mut output = Vec::new();
        pass(&mut input.as_slice(), &mut output).await?;
        Ok(output.split_off(PREFACE))
    }

    #[tokio::test]
    async fn the_authority_is_replaced_and_all_else_kept() {
        let long = vec![b'x'; 300];
        let mut encoder = fluke_hpack::Encoder::new();
        let headers: Vec<(&[u8], &[u8])> = vec![
            (b":method", b"POST"),
            (b":authority", b"%2Frun%2Fx.sock"),
            (b"te", b"trailers"),
            (b"long", &long),
        ];
        // Twice: the second block refers to what the first put into the table.
        let blocks = [encoder.encode(headers.clone()), encoder.encode(headers)];
        let padded = [&[2u8][..], &blocks[0], &[0, 0]].concat();
        let data = frame(0, 1, b"body");
        let frames = [
            frame(HEADERS, END_HEADERS | PADDED, &padded),
            data.clone(),
            frame(HEADERS, END_HEADERS, &blocks[1]),
        ];
        let output = through(&frames).await.unwrap();
        let mut rest = output.as_slice();
        let mut seen = Vec::new();
        while !rest.is_empty() {
            let length = usize::from(rest[1]) << 8 | usize::from(rest[2]);
            let (one, next) = rest.split_at(FRAME_HEADER + length);
            if one[3] == HEADERS {
                assert_eq!(one[4], END_HEADERS);
                seen.push(fluke_hpack::Decoder::new().decode(&one[FRAME_HEADER..]).unwrap());
            } else {
                assert_eq!(one, data);
            }
            rest = next;
        }
        assert_eq!(seen.len(), 2);
        for headers in seen {
            assert_eq!(headers[1], (b":authority".to_vec(), b"localhost".to_vec()));
            assert_eq!(headers[3], (b"long".to_vec(), long.clone()));
            assert_eq!(headers.len(), 4);
        }
    }

    #[tokio::test]
    async fn nonsense_ends_the_connection() {
        assert!(through(&[frame(HEADERS, END_HEADERS | PADDED, &[200])]).await.is_err());
        assert!(through(&[frame(HEADERS, 0, &[])]).await.is_err());
        assert!(through(&[vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]]).await.is_err());
    }
}
