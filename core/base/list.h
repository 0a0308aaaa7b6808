/* SPDX-License-Identifier: MIT */
/* list.h -- intrusive doubly linked lists.
 *
 * A struct list is a head or a member. A member that is in no list is linked to itself,
 * so list_remove may be called twice.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next;
	struct list *previous;
};

/* The struct that has this list as its member. */
#define list_of(pointer, type, member)                                                   \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
	list->next = list->previous = list;
}

static inline bool list_empty(const struct list *list)
{
	return list->next == list;
}

static inline void list_append(struct list *head, struct list *member)
{
	member->previous = head->previous;
	member->next = head;
	head->previous->next = member;
	head->previous = member;
}

static inline void list_remove(struct list *member)
{
	member->previous->next = member->next;
	member->next->previous = member->previous;
	list_init(member);
}

/* The first member, taken out; NULL when the list is empty. */
static inline struct list *list_take(struct list *head)
{
	struct list *first = head->next;

	if (first == head)
		return NULL;
	list_remove(first);
	return first;
}

#endif
