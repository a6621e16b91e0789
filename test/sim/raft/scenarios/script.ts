import type { Membership, MembershipChange, Proposal } from '@apiary/raft/core';
import { Stage, type StageOptions } from './stage.js';

/**
 * Plays a scenario: lines that begin with `> ` are commands, and what follows one, up to the next empty line, comment
 * or command, is what has to come of it.
 *
 * @returns the text as it should be by what the nodes did
 */
export function play(text: string): string {
  const script = new Script();
  const played: string[] = [];
  let isAnswer = false;
  for (const line of text.trimEnd().split('\n')) {
    if (line.startsWith('> ')) {
      played.push(line, ...script.run(line.slice(2)));
      isAnswer = true;
    } else if (line === '' || line.startsWith('#')) {
      played.push(line);
      isAnswer = false;
    } else if (!isAnswer) throw new Error(`neither a command nor an answer: ${line}`);
  }
  return `${played.join('\n')}\n`;
}

class Script {
  #stage = new Stage({});

  run(line: string): string[] {
    const [command = '', ...words] = line.split(' ');
    const answer = this.#command(command, words);
    const said = this.#stage.takeLog();
    return answer === undefined ? said : [...said, answer];
  }

  #command(command: string, words: string[]): string | undefined {
    const stage = this.#stage;
    const [id = '', second = '', third = ''] = words;
    switch (command) {
      case 'nodes':
        this.#begin(words);
        return undefined;
      case 'join':
        stage.add(id, undefined);
        return undefined;
      case 'tick':
        for (let i = 0; i < Number(second || 1); i++) {
          for (const each of id === 'all' ? stage.ids : [id]) {
            stage.node(each).tick();
            stage.settle(each);
          }
        }
        return undefined;
      case 'campaign':
        return this.#at(id, () => stage.node(id).campaign());
      case 'lead':
        // How a leader is elected is told in campaign.txt.
        stage.node(id).campaign();
        stage.settle(id);
        stage.deliver();
        stage.takeLog();
        return undefined;
      case 'propose':
        return this.#at(id, () => verdict(stage.node(id).propose(Buffer.from(second))));
      case 'change':
        return this.#at(id, () => {
          const change = { type: second, member: third } as MembershipChange;
          const isForced = words[3] === 'forced';
          return verdict(stage.node(id).proposeMembership(change, new Uint8Array(0), { isForced }));
        });
      case 'read':
        return this.#at(id, () => stage.node(id).readIndex(second));
      case 'transfer':
        return this.#at(id, () => (stage.node(id).transfer(second) ? undefined : 'refused'));
      case 'unreachable':
        return this.#at(id, () => stage.node(id).unreachable(second));
      case 'status': {
        const { commit, applied, lastIndex, stableIndex, peers } = stage.node(id).status;
        const flows = peers.map((peer) => ` ${peer.id}:${peer.flow}@${peer.matchIndex}`).join('');
        return `${id}: commit ${commit}, applied ${applied}, last ${lastIndex}, durable ${stableIndex}${flows}`;
      }
      default:
        this.#surroundings(command, words);
        return undefined;
    }
  }

  #surroundings(command: string, [id = '', second = '']: string[]): void {
    const stage = this.#stage;
    switch (command) {
      case 'deliver':
        stage.deliver(id === '' ? Number.POSITIVE_INFINITY : Number(id));
        return;
      case 'drop':
        stage.drop();
        return;
      case 'cut':
        for (const other of second === '' ? stage.ids : [second]) {
          stage.cut(id, other);
          stage.cut(other, id);
        }
        return;
      case 'mute':
        for (const other of stage.ids) stage.cut(id, other);
        return;
      case 'heal':
        stage.heal();
        return;
      case 'hold':
        stage.hold(id);
        return;
      case 'sync':
        stage.sync(id);
        return;
      case 'fail':
        stage.fail(id);
        return;
      case 'restart':
        stage.restart(id);
        return;
      case 'snapshot':
        stage.snapshot(id, Number(second || 0));
        return;
      default:
        throw new Error(`no such command: ${command}`);
    }
  }

  /** `nodes a b c learner:d reads=lease maxAppendEntries=2` */
  #begin(words: string[]): void {
    const voters = words.filter((word) => /^\w+$/.test(word));
    const learners = words.flatMap((word) => /^learner:(.*)$/.exec(word)?.[1] ?? []);
    const options: StageOptions = {};
    for (const word of words) {
      const [, name = '', value = ''] = /^(\w+)=(\w+)$/.exec(word) ?? [];
      if (name === 'reads') options.reads = value === 'lease' ? { type: 'lease', driftRatio: 1.2 } : { type: 'quorum' };
      else if (name !== '') Object.assign(options, { [name]: Number(value) });
    }
    this.#stage = new Stage(options);
    const membership: Membership = { voters, learners };
    for (const id of [...voters, ...learners]) this.#stage.add(id, membership);
  }

  #at(id: string, act: () => unknown): string | undefined {
    const answer = act();
    this.#stage.settle(id);
    return typeof answer === 'string' ? answer : undefined;
  }
}

function verdict(proposal: Proposal): string | undefined {
  return proposal.type === 'refused' ? `refused: ${proposal.reason}` : undefined;
}
