import type { ContentKind } from '@apiary/api/model';
import type { ChangeOf, Touched } from './change.js';
import { created, type Landing, updated } from './landing.js';
import type { ContentRecord } from './records.js';
import type { Tables } from './tables.js';

type ContentChange = ChangeOf<'content-create' | 'content-version' | 'content-labels' | 'content-delete'>;

/** Makes one change of a secret or a config. @returns the name that has another version now: its followers are to have it */
export function changeContent(
  tables: Tables,
  change: ContentChange,
  landing: Landing,
  touched: Touched,
): { kind: ContentKind; name: string } | undefined {
  const { kind } = change;
  const contents = tables.contents[kind];
  const touch = ({ id }: ContentRecord) => (kind === 'secret' ? touched.secrets : touched.configs).add(id);
  const put = (record: ContentRecord) => {
    contents.put(record);
    touch(record);
  };
  switch (change.type) {
    case 'content-create': {
      const { content } = change;
      if (contents.get(content.id) !== undefined || contents.byName(content.spec.Name ?? '') !== undefined) return;
      put({ ...content, meta: created(landing) });
      return;
    }
    case 'content-version': {
      const { content } = change;
      const name = content.spec.Name ?? '';
      const before = contents.byName(name);
      if (before === undefined || before.id === content.id) return;
      const known = contents.get(content.id);
      // An id is of one name for ever.
      if (known !== undefined && known.spec.Name?.toLowerCase() !== name.toLowerCase()) return;
      put({ ...content, meta: known === undefined ? created(landing) : updated(known.meta, landing) });
      put({ ...before, meta: updated(before.meta, landing), supersededAtMs: landing.atMs });
      return { kind, name };
    }
    case 'content-labels': {
      const record = contents.get(change.id);
      if (record === undefined) return;
      put({ ...record, spec: { ...record.spec, Labels: change.labels }, meta: updated(record.meta, landing) });
      return;
    }
    case 'content-delete':
      for (const record of contents.deleteName(change.name)) touch(record);
  }
}
