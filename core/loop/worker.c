/* SPDX-License-Identifier: MIT */
#include "loop/worker.h"
#include "base/check.h"
#include "base/list.h"
#include "loop/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define STACK_SIZE (8u << 20)

/* --- threads ---------------------------------------------------------------------- */

struct thread {
	pthread_t id;
};

struct thread_task { /* the thread's own: struct thread may be forgotten before it begins
		      */
	char name[16];
	thread_fn *fn;
	void *context;
};

static void *thread_main(void *context)
{
	struct thread_task task = *(struct thread_task *)context;

	free(context);
	pthread_setname_np(pthread_self(), task.name);
	task.fn(task.context);
	return NULL;
}

struct thread *thread_start(const char *name, thread_fn *fn, void *context)
{
	struct thread *thread = mem_zeroed(1, sizeof(*thread));
	struct thread_task *task = mem_zeroed(1, sizeof(*task));
	sigset_t all, before;
	pthread_attr_t attributes;

	check(strlen(name) < sizeof(task->name));
	memcpy(task->name, name, strlen(name) + 1);
	task->fn = fn;
	task->context = context;
	/* A new thread inherits the mask: there is no moment in which it takes a signal.
	 */
	sigfillset(&all);
	check(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE); /* whatever ulimit says */
	check(pthread_create(&thread->id, &attributes, thread_main, task) == 0);
	pthread_attr_destroy(&attributes);
	check(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
	return thread;
}

void thread_join(struct thread *thread)
{
	if (!thread)
		return;
	check(pthread_join(thread->id, NULL) == 0);
	free(thread);
}

void thread_forget(struct thread *thread)
{
	check(pthread_detach(thread->id) == 0);
	free(thread);
}

/* --- helpers ---------------------------------------------------------------------- */

struct helper_job {
	struct list member; /* of queue */
	struct mail mail; /* carries done to the loop */
	struct loop *loop;
	thread_fn *work;
	thread_fn *done;
	void *context;
};

struct helper {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list queue; /* from here on under lock */
	unsigned queued;
	unsigned queue_max;
	unsigned idle; /* threads that wait and are not spoken for */
	bool stopping;
	unsigned started;
	unsigned threads_max;
	struct thread *threads[];
};

static void helper_done(void *context)
{
	struct helper_job *job = context;
	thread_fn *done = job->done;
	void *done_context = job->context;

	free(job);
	done(done_context);
}

static void helper_main(void *context)
{
	struct helper *helper = context;

	pthread_mutex_lock(&helper->lock);
	for (;;) {
		struct helper_job *job;

		while (list_empty(&helper->queue) && !helper->stopping) {
			helper->idle++;
			pthread_cond_wait(&helper->wake, &helper->lock);
			helper->idle--;
		}
		if (helper->stopping)
			break;
		job = list_of(list_take(&helper->queue), struct helper_job, member);
		helper->queued--;
		pthread_mutex_unlock(&helper->lock);
		job->work(job->context);
		loop_post(job->loop, &job->mail, helper_done, job);
		pthread_mutex_lock(&helper->lock);
	}
	pthread_mutex_unlock(&helper->lock);
}

struct helper *helper_create(unsigned threads, unsigned queue_max)
{
	struct helper *helper =
		mem_zeroed(1, sizeof(*helper) + threads * sizeof(helper->threads[0]));

	check(threads > 0);
	check(pthread_mutex_init(&helper->lock, NULL) == 0);
	check(pthread_cond_init(&helper->wake, NULL) == 0);
	list_init(&helper->queue);
	helper->threads_max = threads;
	helper->queue_max = queue_max;
	return helper;
}

void helper_destroy(struct helper *helper)
{
	struct list *member;

	if (!helper)
		return;
	pthread_mutex_lock(&helper->lock);
	helper->stopping = true;
	pthread_cond_broadcast(&helper->wake);
	pthread_mutex_unlock(&helper->lock);
	for (unsigned i = 0; i < helper->started; i++)
		thread_join(helper->threads[i]);
	while ((member = list_take(&helper->queue)))
		free(list_of(member, struct helper_job, member));
	pthread_cond_destroy(&helper->wake);
	pthread_mutex_destroy(&helper->lock);
	free(helper);
}

bool helper_submit(struct helper *helper, struct loop *loop, thread_fn *work,
		   thread_fn *done, void *context, struct fault *why)
{
	struct helper_job *job;

	pthread_mutex_lock(&helper->lock);
	if (helper->queued >= helper->queue_max) {
		pthread_mutex_unlock(&helper->lock);
		return fault_set_status(why, FAULT_limit, 503,
					"%u jobs wait for a helper thread",
					helper->queue_max);
	}
	job = mem_zeroed(1, sizeof(*job));
	job->loop = loop;
	job->work = work;
	job->done = done;
	job->context = context;
	list_append(&helper->queue, &job->member);
	helper->queued++;
	if (helper->idle < helper->queued && helper->started < helper->threads_max) {
		struct thread **thread = &helper->threads[helper->started++];

		*thread = thread_start("helper", helper_main, helper);
	} else {
		pthread_cond_signal(&helper->wake);
	}
	pthread_mutex_unlock(&helper->lock);
	return true;
}
