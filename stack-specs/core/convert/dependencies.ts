import type { Fields } from './fields.js';
import type { Dependency, DependencyCondition } from './stack.js';

/**
 * What each service waits for. Lists of names, as version 3 files have them, never held anything up: there a name that
 * nobody has and a circle are warned of and left out. Where conditions are written they are meant, and refused.
 */
export function convertDependencies(project: Fields): Map<string, Dependency[]> {
  const services = project.in('services');
  const graph = new Map<string, Dependency[]>();
  for (const service of project.each('services')) {
    const dependencies: Dependency[] = [];
    for (const one of service.each('depends_on')) {
      const condition = one.text('condition') as DependencyCondition | undefined;
      if (services.raw(one.name) === undefined) {
        if (one.flag('required') === false) continue;
        const message = `there is no service "${one.name}" to wait for`;
        if (condition === undefined) service.warn(message, 'depends_on', one.name);
        else service.error(message, 'depends_on', one.name);
        continue;
      }
      if (condition === 'service_healthy' && !hasHealthcheck(services.in(one.name))) {
        service.warn(
          `service "${one.name}" has no healthcheck here: unless its image has one, running is enough`,
          'depends_on',
          one.name,
        );
      }
      dependencies.push({
        service: one.name,
        condition: condition ?? 'service_started',
        onUpdate: one.flag('restart') ?? false,
      });
    }
    graph.set(service.name, dependencies);
  }
  breakCircles(project, graph);
  return graph;
}

function hasHealthcheck(service: Fields): boolean {
  const check = service.in('healthcheck');
  return check.has('test') && check.flag('disable') !== true;
}

function breakCircles(project: Fields, graph: Map<string, Dependency[]>): void {
  for (let circle = findCircle(graph); circle !== undefined; circle = findCircle(graph)) {
    const [first = '', second = first] = circle;
    const service = project.in('services').in(first);
    const isMeant = circle.some((name, i) => {
      const next = circle[i + 1];
      return next !== undefined && project.in('services').in(name).in('depends_on').in(next).has('condition');
    });
    const shown = circle.join(' -> ');
    if (isMeant) service.error(`services wait for each other in a circle: ${shown}`, 'depends_on', second);
    else
      service.warn(
        `services wait for each other in a circle: ${shown}: "${first}" does not wait`,
        'depends_on',
        second,
      );
    graph.set(
      first,
      (graph.get(first) ?? []).filter((one) => one.service !== second),
    );
  }
}

/** `[a, b, a]`, or undefined when nobody waits for itself. */
function findCircle(graph: ReadonlyMap<string, readonly Dependency[]>): string[] | undefined {
  const done = new Set<string>();
  for (const start of graph.keys()) {
    const trail: string[] = [];
    const pending: { name: string; leave: boolean }[] = [{ name: start, leave: false }];
    for (let step = pending.pop(); step !== undefined; step = pending.pop()) {
      const { name, leave } = step;
      if (leave) {
        trail.pop();
        done.add(name);
        continue;
      }
      if (done.has(name)) continue;
      if (trail.includes(name)) return [...trail.slice(trail.indexOf(name)), name];
      trail.push(name);
      pending.push({ name, leave: true });
      for (const { service } of graph.get(name) ?? []) pending.push({ name: service, leave: false });
    }
  }
  return undefined;
}
