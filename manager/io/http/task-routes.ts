import type { FastifyInstance } from 'fastify';
import { filterTasks, findTask, parseFilters, TASK_FILTERS, taskObject } from '../../core/engine-api/index.js';
import { PendingReasons } from '../../core/plan/index.js';
import { type ApiContext, currentView } from './context.js';
import { pathParameter, queryText } from './request-reading.js';

export function taskRoutes(app: FastifyInstance, context: ApiContext): void {
  app.get('/tasks', async (request) => {
    const view = await currentView(context);
    const filters = parseFilters(queryText(request, 'filters'), TASK_FILTERS);
    const reasons = new PendingReasons(view);
    return filterTasks(view, filters, context.node.status().nodeId).map((task) =>
      taskObject(task, view.spec(task.serviceId, task.specVersion), view, reasons.of(task)),
    );
  });

  app.get('/tasks/:id', async (request) => {
    const view = await currentView(context);
    const task = findTask(view, pathParameter(request, 'id'));
    return taskObject(task, view.spec(task.serviceId, task.specVersion), view, new PendingReasons(view).of(task));
  });
}
