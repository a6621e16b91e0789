import { ContentOpener, createKeyAndCsr } from '@apiary/api/client';
import { formatJoinToken } from '@apiary/api/model';
import { AgentMessage, DispatcherService, IssueCertificateRequest, NodeCaService } from '@apiary/api/rpc';
import {
  Dispatcher,
  issueCertificate,
  nodeCaService,
  RaftTransport,
  rootDigestOfPem,
  SystemRng,
  startRpcServer,
  verifiedKeyOf,
} from '@apiary/manager/io';
import { ChannelCredentials, Client, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import * as fc from 'fast-check';
import { pino } from 'pino';
import { DESCRIPTION, type FuzzedManager, openManager, SELF } from './cluster.js';
import { damaged } from './damage.js';
import { MESSAGE_FRAMES } from './log-targets.js';
import type { OpenTarget, Target, Verdict } from './target.js';

/** What the managers' door reads of nodes and of strangers, over TLS, as bytes that no client of ours would send. */

const asIs = (bytes: Buffer): Buffer => bytes;
const log = pino({ level: 'silent' });
const CHANNEL = { 'grpc.ssl_target_name_override': 'swarm-manager', 'grpc.use_local_subchannel_pool': 1 };
const DAY_MS = 24 * 3600_000;

function isMessage(bytes: Uint8Array): boolean {
  try {
    AgentMessage.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** As another manager begins: other calls have no use for it. */
function greeting(): Metadata {
  const metadata = new Metadata();
  metadata.set('apiary-raft-version', '1');
  return metadata;
}

/** What a manager may answer to nonsense: gRPC's own words for bytes that are no message are among it. */
function isRefusal({ code, details }: ServiceError): boolean {
  if (code === status.INTERNAL) return /deserializ|parse|decod/i.test(details);
  return code !== status.UNKNOWN && code !== status.DEADLINE_EXCEEDED;
}

function sampleMessages(): Buffer[] {
  const description = {
    descriptionJson: JSON.stringify(DESCRIPTION),
    advertiseAddr: '10.0.0.1',
    engineError: '',
    managerAddr: '',
    wireguardKey: '',
  };
  const updates = [{ taskId: 't1', statusJson: '{"state":"running","atMs":1,"message":"m"}' }];
  const said: AgentMessage[] = [
    { body: { $case: 'hello', value: { contentKey: new ContentOpener().contentKey, description } } },
    { body: { $case: 'statusReport', value: { sequence: 1, updates } } },
    { body: { $case: 'description', value: description } },
  ];
  return said.map((message) => Buffer.from(AgentMessage.encode(message).finish()));
}

async function openServer(manager: FuzzedManager) {
  const { replica, rootCa, clock } = manager;
  const clusterId = replica.view.cluster()?.id ?? '';
  const identityOf = (nodeId: string, role: 'manager' | 'worker') => {
    const { keyPem, csrPem } = createKeyAndCsr();
    const order = { rootCa, csrPem, nodeId, role, clusterId, validityMs: DAY_MS, nowMs: clock.now() };
    return { keyPem, certificateChainPem: issueCertificate(order), rootPem: rootCa.certificatePem };
  };
  const dispatcher = new Dispatcher({ replica, clock, log });
  const transport = new RaftTransport({
    identity: () => ({ ...identityOf(SELF, 'manager'), nodeId: SELF, clusterId }),
    addressOf: () => undefined,
    ownAddr: () => undefined,
    onAddress: () => {},
    clock,
    rng: new SystemRng(),
    logger: log,
  });
  const services = [nodeCaService({ replica, clock, log }), dispatcher.service, transport.service];
  const [identity, peer] = [identityOf(SELF, 'manager'), identityOf('m2', 'manager')];
  const server = await startRpcServer({ listenAddr: '127.0.0.1:0', identity, services, replica, clock });
  const root = Buffer.from(rootCa.certificatePem);
  const clientOf = ({ keyPem, certificateChainPem }: { keyPem: string; certificateChainPem: string }) => {
    const [key, chain] = [Buffer.from(keyPem), Buffer.from(certificateChainPem)];
    return new Client(server.addr, ChannelCredentials.createSsl(root, key, chain), CHANNEL);
  };
  const [node, manager2] = [clientOf(identity), clientOf(peer)];
  const stranger = new Client(server.addr, ChannelCredentials.createSsl(root), CHANNEL);
  const close = async () => {
    stranger.close();
    node.close();
    manager2.close();
    dispatcher.close();
    transport.close();
    await server.close();
    await manager.close();
  };
  return { stranger, node, manager2, close };
}

async function openRpc(): Promise<OpenTarget> {
  const manager = await openManager();
  const { replica, rootCa } = manager;
  const { stranger, node, manager2, close } = await openServer(manager);
  const secret = replica.view.cluster()?.joinSecrets.worker ?? '';
  const joinToken = formatJoinToken({ rootDigest: rootDigestOfPem(rootCa.certificatePem), secret });
  const csrPem = createKeyAndCsr().csrPem;
  const fields = { availability: '', managerAddr: '', formerCertificatePem: '', formerSignature: Buffer.alloc(0) };
  const orders = [
    { csrPem, joinToken, ...fields },
    { csrPem: '', joinToken, ...fields },
    { csrPem, joinToken: '', ...fields, formerCertificatePem: csrPem },
  ].map((order) => Buffer.from(IssueCertificateRequest.encode(order).finish()));

  const samples = sampleMessages();
  const [hello = Buffer.alloc(0)] = samples;
  const order = (bytes: Uint8Array): Promise<Verdict> =>
    new Promise((resolve, reject) => {
      const { path } = NodeCaService.issueCertificate;
      const sent = Buffer.from(bytes);
      stranger.makeUnaryRequest(path, asIs, asIs, sent, { deadline: Date.now() + 8_000 }, (error) => {
        if (error !== null) return isRefusal(error) ? resolve('refused') : reject(error);
        const asked = IssueCertificateRequest.decode(sent);
        // A certificate is given for the token and for a key that signed, and for nothing else.
        if (asked.joinToken.trim() !== joinToken) reject(new Error(`let in with ${asked.joinToken}`));
        verifiedKeyOf(asked.csrPem);
        resolve('taken');
      });
    });
  const stream = (client: Client, path: string, all: readonly Uint8Array[]): Promise<Verdict> =>
    new Promise((resolve, reject) => {
      const call = client.makeBidiStreamRequest(path, asIs, asIs, greeting(), { deadline: Date.now() + 8_000 });
      let heard = 0;
      call.on('data', () => {
        if (heard++ === 0) call.end();
      });
      call.on('error', (error: ServiceError) => (isRefusal(error) ? resolve('refused') : reject(error)));
      call.on('end', () => resolve(heard > 0 ? 'taken' : 'refused'));
      for (const bytes of all) call.write(Buffer.from(bytes));
      // A session that has begun well says something, before what is wrong with the rest ends it.
      if (all[0] !== hello) call.end();
    });
  const session = fc
    .tuple(fc.constantFrom([], [hello]), fc.array(damaged(...samples), { minLength: 1, maxLength: 3 }))
    // Once a session has begun, bytes that are no message at all leave its call to the heartbeats' end: too long for here.
    .map(([first, rest]) => (first.length === 0 ? rest : [...first, ...rest.filter(isMessage)]));
  const property = fc.oneof(
    damaged(...orders).map((bytes) => () => order(bytes)),
    session.map((all) => () => stream(node, DispatcherService.session.path, all)),
    fc
      .tuple(
        fc.constantFrom('Messages', 'Snapshots', 'Forward'),
        fc.array(damaged(...MESSAGE_FRAMES), { maxLength: 3 }),
      )
      .map(
        ([method, all]) =>
          () =>
            stream(manager2, `/apiary.v1.Raft/${method}`, all),
      ),
  );
  return { property, close };
}

export const RPC_TARGET: Target = { name: 'gRPC services', share: 60, open: openRpc };
