import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { createClient, createKeyAndCsr } from '@apiary/api/client';
import { invariant } from '@apiary/std';
import * as fc from 'fast-check';
import { freePort } from '../hosts/free-port.js';
import { damaged } from './damage.js';
import { openHttpApi } from './http-target.js';
import { openRpcDoor } from './rpc-door.js';
import type { OpenTarget, Target, Verdict } from './target.js';

/** What listens with TLS, given bytes in the place of a handshake, and of what belongs into it. */

/** How long a client waits to hear something, before it goes: what is not complete may be waited for. */
const PATIENCE_MS = 40;
/** So often, somebody who knows what to say comes too. */
const GOOD_EVERY = 25;

interface Door {
  port: number;
  /** What a client shows who is let in. */
  tls: { ca: string; cert: string; key: string; servername?: string; ALPNProtocols?: string[] };
  /** What is said inside of TLS. */
  sentences: readonly Uint8Array[];
  /** @throws when somebody who knows what to say is not answered */
  check(): Promise<void>;
  close(): Promise<void>;
}

/** The first bytes that a client of TLS says. */
async function clientHello(ALPNProtocols: string[]): Promise<Buffer> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  invariant(typeof address === 'object' && address !== null, 'it has a port');
  const client = connectTls({ host: '127.0.0.1', port: address.port, ALPNProtocols });
  client.on('error', () => {});
  const [socket]: Socket[] = await once(server, 'connection');
  invariant(socket !== undefined, 'somebody came');
  const [hello]: Buffer[] = await once(socket, 'data');
  client.destroy();
  socket.destroy();
  server.close();
  return hello ?? Buffer.alloc(0);
}

/** HTTP/2's preface, empty settings, and a request for a method of gRPC. */
const HTTP2 = [
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1'),
  Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\xff\xff', 'latin1'),
    // HEADERS with :method POST, :scheme https, :path and content-type, none of them in the table.
    Buffer.from('\0\0\x23\x01\x04\0\0\0\x01\x83\x87\x04\x0c/apiary.v1.A\x0f\x10\x10application/grpc', 'latin1'),
    Buffer.from('\0\0\x05\0\x01\0\0\0\x01\0\0\0\0\0', 'latin1'),
  ]),
];
const HTTP1 = [
  'GET /services HTTP/1.1\r\nHost: x\r\n\r\n',
  'POST /services/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}',
  'POST /v1.41/swarm/update?version=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n',
  'POST /containers/x/attach?stream=1 HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n',
].map((text) => Buffer.from(text));

/** Resolves once the other end has said something, or has gone, or nothing comes of it. */
async function heardOn(socket: Socket): Promise<Buffer> {
  const heard = await new Promise<Buffer>((resolve) => {
    const timer = setTimeout(() => resolve(Buffer.alloc(0)), PATIENCE_MS);
    const done = (bytes: Buffer) => {
      clearTimeout(timer);
      resolve(bytes);
    };
    socket.once('data', done);
    socket.once('close', () => done(Buffer.alloc(0)));
  });
  socket.destroy();
  return heard;
}

async function knock(door: Door, bytes: Uint8Array): Promise<Verdict> {
  const socket = connect({ host: '127.0.0.1', port: door.port });
  socket.on('error', () => {});
  socket.write(bytes);
  const heard = await heardOn(socket);
  // Records of TLS: an alert, or the server's part of a handshake; and never a word of HTTP.
  invariant(heard.length === 0 || heard[0] === 0x15 || heard[0] === 0x16, `said in clear: ${heard.toString('latin1')}`);
  return heard[0] === 0x16 ? 'taken' : 'refused';
}

async function say(door: Door, bytes: Uint8Array, isKnown: boolean): Promise<Verdict> {
  const { ca, servername, ALPNProtocols } = door.tls;
  const shown = isKnown ? door.tls : { ca, ...(servername && { servername }), ...(ALPNProtocols && { ALPNProtocols }) };
  const socket = connectTls({ host: '127.0.0.1', port: door.port, ...shown, rejectUnauthorized: false });
  socket.on('error', () => {});
  socket.once('secureConnect', () => socket.write(bytes));
  const heard = await heardOn(socket);
  // Who shows no certificate hears no answer of HTTP/1; of HTTP/2 it hears no more than its settings and errors.
  invariant(isKnown || !heard.toString('latin1').startsWith('HTTP/1'), `let in: ${heard.toString('latin1')}`);
  return heard.length > 0 ? 'taken' : 'refused';
}

async function rpcDoor(): Promise<Door> {
  const { addr, manager, close } = await openRpcDoor();
  const port = Number(addr.slice(addr.lastIndexOf(':') + 1));
  const ca = manager.rootCa.certificatePem;
  const check = async () => {
    const socket = connectTls({ host: '127.0.0.1', port, ca, servername: 'swarm-manager', ALPNProtocols: ['h2'] });
    await once(socket, 'secureConnect');
    socket.destroy();
  };
  const tls = { ca, cert: '', key: '', servername: 'swarm-manager', ALPNProtocols: ['h2'] };
  return { port, tls, sentences: HTTP2, check, close };
}

async function httpDoor(): Promise<Door> {
  const { api, socketPath, close } = await openHttpApi();
  const port = await freePort();
  await api.listen({ tls: { host: '127.0.0.1', port } });
  const { keyPem, csrPem } = createKeyAndCsr();
  const asked = { Name: 'ann', Role: 'viewer', Stack: '', ValidityNs: 1e15, CsrPem: csrPem };
  const issued = await createClient(`unix://${socketPath}`).createClientCertificate(asked);
  const tls = { ca: issued.RootPem, cert: issued.CertificatePem, key: keyPem };
  const client = createClient(`tcp://127.0.0.1:${port}`, tls);
  const check = async () => void (await client.request('GET', '/services'));
  return { port, tls, sentences: HTTP1, check, close };
}

function target(name: string, share: number, openDoor: () => Promise<Door>): Target {
  const open = async (): Promise<OpenTarget> => {
    const door = await openDoor();
    let count = 0;
    const then = async (verdict: Promise<Verdict>): Promise<Verdict> => {
      const given = await verdict;
      if (++count % GOOD_EVERY === 0) await door.check();
      return given;
    };
    const hello = await clientHello(door.tls.ALPNProtocols ?? ['http/1.1']);
    const isKnown = door.tls.cert === '' ? fc.constant(false) : fc.boolean();
    const property = fc.oneof(
      damaged(hello, ...door.sentences).map((bytes) => () => then(knock(door, bytes))),
      fc.tuple(damaged(...door.sentences), isKnown).map(
        ([bytes, known]) =>
          () =>
            then(say(door, bytes, known)),
      ),
    );
    const close = async () => {
      await door.check();
      await door.close();
    };
    return { property, close };
  };
  return { name, share, open };
}

export const DOOR_TARGETS: readonly Target[] = [
  target("TLS of the managers' port", 15, rpcDoor),
  target('TLS of the HTTP API', 15, httpDoor),
];
