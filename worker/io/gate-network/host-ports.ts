import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { HostPort } from '@apiary/overlay-net/core';
import { ApiaryError, systemCodeOf } from '@apiary/std';
import type { TaskPort } from '../../core/index.js';

/** Where ports are looked for that a service does not care to name: Docker Swarm's, from its end, since managers begin at the other. */
const DYNAMIC = { first: 30_000, last: 32_767 } as const;

/** Why a port cannot be had, as Docker says it. */
const REFUSALS = new Map([
  ['EADDRINUSE', 'address already in use'],
  ['EADDRNOTAVAIL', 'cannot assign requested address'],
  ['EAFNOSUPPORT', 'address family not supported by protocol'],
]);

/** A port that nobody else on this host can have meanwhile. */
export interface Reservation {
  release(): void;
}

/** At which address of the host; empty: at all. */
type Reserve = (protocol: string, port: number, address: string) => Promise<Reservation>;

/** A task's addresses on the gateway network. */
export interface GatewayPlace {
  address: string;
  /** Empty: it has IPv4 alone. */
  ipv6Address: string;
}

interface Held extends TaskPort {
  reservation: Reservation | undefined;
}

/**
 * The ports of this host that its tasks have. Each is reserved with a socket that nobody ever reaches, as what comes for it is
 * led to the task before: so a conflict with another program is found out when the task starts, and not by that
 * program's users.
 */
export class HostPorts {
  readonly #reserve: Reserve;
  readonly #tasks = new Map<string, { place: GatewayPlace; held: Held[] }>();
  /** Whether a port is published on every node. */
  #isPublished = (_protocol: string, _port: number): boolean => false;

  constructor(reserve: Reserve) {
    this.#reserve = reserve;
  }

  /** Which ports are everybody's, and so not to be given to a task. */
  avoid(isPublished: (protocol: string, port: number) => boolean): void {
    this.#isPublished = isPublished;
  }

  /** What the packet filter is to make of it. */
  get rows(): HostPort[] {
    return Array.from(this.#tasks, ([taskId, { place, held }]) =>
      held.map(({ protocol, publishedPort, targetPort, hostAddress = '' }) => ({
        taskId,
        protocol,
        hostAddress,
        publishedPort,
        targetPort,
        gatewayAddress: place.address,
        ...(place.ipv6Address !== '' && { gatewayIpv6Address: place.ipv6Address }),
      })),
    ).flat();
  }

  /**
   * Reserves a task's ports, and finds free ones for those without a number.
   *
   * @returns the ports as they are now
   * @throws ApiaryError `failed-precondition` in Docker's words when one is somebody else's; then it has none
   */
  async claim(taskId: string, { address, ipv6Address }: GatewayPlace, ports: readonly TaskPort[]): Promise<TaskPort[]> {
    const before = this.#tasks.get(taskId);
    const held: Held[] = [];
    this.#tasks.set(taskId, { place: { address, ipv6Address }, held });
    try {
      for (const port of ports) {
        const same = before?.held.find((each) => isSame(each, port));
        const number = port.publishedPort === 0 ? undefined : port.publishedPort;
        held.push(same ?? { ...port, ...(number === undefined ? await this.#any(port) : await this.#one(port)) });
      }
    } catch (error) {
      this.release(taskId);
      throw error;
    } finally {
      for (const each of before?.held ?? []) if (!held.includes(each)) each.reservation?.release();
    }
    return held.map(({ reservation: _, ...port }) => port);
  }

  /** A task runs with these ports: they are its own, whoever else may think so. */
  async adopt(taskId: string, { address, ipv6Address }: GatewayPlace, ports: readonly TaskPort[]): Promise<void> {
    const known = this.#tasks.get(taskId);
    if (known !== undefined && ports.every((port) => known.held.some((each) => isSame(each, port)))) return;
    const held: Held[] = ports.map((port) => ({ ...port, reservation: undefined }));
    this.#tasks.set(taskId, { place: { address, ipv6Address }, held });
    for (const each of held) {
      const reservation = await this.#reserve(each.protocol, each.publishedPort, each.hostAddress ?? '').catch(
        () => undefined,
      );
      if (this.#tasks.get(taskId)?.held === held) each.reservation = reservation;
      else reservation?.release();
    }
  }

  /** @returns whether it had any */
  release(taskId: string): boolean {
    const task = this.#tasks.get(taskId);
    this.#tasks.delete(taskId);
    for (const { reservation } of task?.held ?? []) reservation?.release();
    return (task?.held.length ?? 0) > 0;
  }

  releaseAll(): void {
    for (const taskId of [...this.#tasks.keys()]) this.release(taskId);
  }

  async #one({ protocol, publishedPort, hostAddress = '' }: TaskPort): Promise<{ reservation: Reservation }> {
    const isIpv6 = hostAddress.includes(':');
    const place = `${isIpv6 ? `[${hostAddress}]` : hostAddress || '0.0.0.0'}:${publishedPort}`;
    if (this.#isTaken(protocol, publishedPort)) {
      throw new ApiaryError('failed-precondition', `Bind for ${place} failed: port is already allocated`);
    }
    try {
      return { reservation: await this.#reserve(protocol, publishedPort, hostAddress) };
    } catch (error) {
      const reason = REFUSALS.get(systemCodeOf(error) ?? '');
      if (reason === undefined) throw error;
      const message = `listen ${protocol}${isIpv6 ? 6 : 4} ${place}: bind: ${reason}`;
      throw new ApiaryError('failed-precondition', message, { cause: error });
    }
  }

  async #any({ protocol, hostAddress = '' }: TaskPort): Promise<{ publishedPort: number; reservation: Reservation }> {
    for (let publishedPort: number = DYNAMIC.last; publishedPort >= DYNAMIC.first; publishedPort--) {
      if (this.#isTaken(protocol, publishedPort)) continue;
      const reservation = await this.#reserve(protocol, publishedPort, hostAddress).catch((error: unknown) => {
        if (systemCodeOf(error) !== 'EADDRINUSE') throw error;
        return undefined;
      });
      if (reservation !== undefined) return { publishedPort, reservation };
    }
    throw new ApiaryError('resource-exhausted', `no free ${protocol} port from ${DYNAMIC.first} to ${DYNAMIC.last}`);
  }

  #isTaken(protocol: string, port: number): boolean {
    const isHeld = ({ held }: { held: Held[] }) =>
      held.some((each) => each.protocol === protocol && each.publishedPort === port);
    return this.#isPublished(protocol, port) || [...this.#tasks.values()].some(isHeld);
  }
}

function isSame(a: TaskPort, b: TaskPort): boolean {
  const isAlike = a.protocol === b.protocol && a.publishedPort === b.publishedPort && a.targetPort === b.targetPort;
  return isAlike && a.hostAddress === b.hostAddress;
}

/** Of TCP and UDP. Node has no sockets of SCTP: such a port is only reserved among tasks. */
export async function reserveOnHost(protocol: string, port: number, address = ''): Promise<Reservation> {
  const host = address || '0.0.0.0';
  if (protocol === 'tcp') {
    const server = createServer((connection) => connection.destroy());
    server.listen({ host, port, exclusive: true });
    await once(server, 'listening');
    server.unref();
    return { release: () => server.close() };
  }
  if (protocol === 'udp') {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    socket.bind({ address: host, port, exclusive: true });
    await once(socket, 'listening');
    socket.unref();
    return { release: () => socket.close() };
  }
  return { release: () => {} };
}
