/* SPDX-License-Identifier: MIT */
/* websocket.c -- h2o's upgrade and wslay's frames, made into the promises of websocket.h.
 *
 * Both libraries call back from deep inside, where neither may be freed and nothing may
 * be sent. So whatever is asked of a websocket is only noted, in wslay's queue or in
 * `over`, and done at the end of the turn. The one exception is h2o saying that the
 * connection is closed: that is its last act, and what it gave is freed there. */
#include "http/websocket.h"
#include "base/check.h"
#include "base/utf8.h"
#include "http/server_inside.h"

#include <h2o/websocket.h>
#include <stdlib.h>

#define CLOSE_MS 5000
#define REASON_SIZE_MAX 123
#define CONTROL_FRAMES_MAX 256 /* queued, for a client that pings and does not read */
#define PINGS_MAX 2
#define FRAGMENTS_MAX 1024 /* of a message: each takes some 64 bytes besides its own */

struct websocket {
	struct loop *loop;
	h2o_websocket_conn_t *h2o;
	struct websocket_config config;
	const struct websocket_handler *handler;
	void *context;
	struct deferred work;
	struct timer timer; /* the next ping, or the end of patience when closing */
	unsigned pings; /* since the other side was last heard */
	unsigned fragments; /* of the message that is coming */
	wslay_event_send_callback h2o_send;
	bool closing; /* nothing more is said or heard */
	int farewell; /* code of the close frame to queue when all is sent; or 0 */
	char reason[REASON_SIZE_MAX];
	size_t reason_size;
	bool over; /* without waiting for anything more */
};

/* --- ending ----------------------------------------------------------------------- */

static int websocket_code(const struct websocket *websocket)
{
	wslay_event_context_ptr frames = websocket->h2o->ws_ctx;
	int code;

	if (!wslay_event_get_close_received(frames))
		return WSLAY_CODE_ABNORMAL_CLOSURE;
	code = wslay_event_get_status_code_received(frames);
	return code ? code : WSLAY_CODE_NO_STATUS_RCVD;
}

static void websocket_end(struct websocket *websocket)
{
	int code = websocket_code(websocket);

	timer_stop(websocket->loop, &websocket->timer);
	loop_undefer(&websocket->work);
	websocket->handler->closed(websocket->context, code);
	/* closed may have sent or closed once more. */
	loop_undefer(&websocket->work);
	timer_stop(websocket->loop, &websocket->timer);
	h2o_websocket_close(websocket->h2o);
	free(websocket);
}

/* wslay sends a close frame before all messages that wait. */
static void websocket_say_farewell(struct websocket *websocket)
{
	wslay_event_context_ptr frames = websocket->h2o->ws_ctx;

	if (!websocket->farewell || wslay_event_get_queued_msg_count(frames) > 0)
		return;
	wslay_event_queue_close(frames, (uint16_t)websocket->farewell,
				(const uint8_t *)websocket->reason,
				websocket->reason_size);
	websocket->farewell = 0;
}

static void websocket_work(void *context)
{
	struct websocket *websocket = context;

	if (websocket->over) {
		websocket_end(websocket);
		return;
	}
	websocket_say_farewell(websocket);
	/* Without a socket h2o is still sending 101, and goes on by itself. */
	if (websocket->h2o->sock)
		h2o_websocket_proceed(websocket->h2o);
}

static void websocket_defer(struct websocket *websocket)
{
	loop_defer(websocket->loop, &websocket->work, websocket_work, websocket);
}

static void websocket_give_up(void *context)
{
	struct websocket *websocket = context;

	websocket->over = true;
	websocket_defer(websocket);
}

static void websocket_begin_close(struct websocket *websocket)
{
	websocket->closing = true;
	timer_start(websocket->loop, &websocket->timer,
		    mono_after_ms(loop_now(websocket->loop), CLOSE_MS), websocket_give_up,
		    websocket);
	websocket_defer(websocket);
}

/* Without the messages that wait. */
static void websocket_break_off(struct websocket *websocket, int code,
				struct slice reason)
{
	wslay_event_queue_close(websocket->h2o->ws_ctx, (uint16_t)code,
				(const uint8_t *)reason.at, reason.size);
	websocket_begin_close(websocket);
}

void websocket_close(struct websocket *websocket, int code, struct slice reason)
{
	if (websocket->closing)
		return;
	reason = utf8_cut(reason, REASON_SIZE_MAX);
	if (reason.size)
		memcpy(websocket->reason, reason.at, reason.size);
	websocket->reason_size = reason.size;
	websocket->farewell = code;
	websocket_begin_close(websocket);
}

/* --- what comes ------------------------------------------------------------------- */

/* msg NULL: h2o has seen the end of the connection and touches nothing any more. */
static void websocket_event(h2o_websocket_conn_t *h2o,
			    const struct wslay_event_on_msg_recv_arg *msg)
{
	struct websocket *websocket = h2o->data;

	if (!msg) {
		websocket_end(websocket);
		return;
	}
	websocket->pings = 0;
	if (wslay_event_get_queued_msg_count(h2o->ws_ctx) > CONTROL_FRAMES_MAX &&
	    wslay_is_ctrl_frame(msg->opcode))
		websocket_give_up(websocket);
	if (websocket->closing || websocket->over)
		return;
	if (msg->opcode == WSLAY_TEXT_FRAME)
		websocket->handler->message(
			websocket->context,
			slice_of((const char *)msg->msg, msg->msg_length));
	else if (msg->opcode == WSLAY_BINARY_FRAME)
		websocket_close(websocket, WSLAY_CODE_UNSUPPORTED_DATA,
				SLICE("text only"));
}

/* A frame begins. */
static void websocket_frame(wslay_event_context_ptr frames,
			    const struct wslay_event_on_frame_recv_start_arg *frame,
			    void *h2o)
{
	struct websocket *websocket = ((h2o_websocket_conn_t *)h2o)->data;

	if (wslay_is_ctrl_frame(frame->opcode))
		return;
	websocket->fragments = frame->fin ? 0 : websocket->fragments + 1;
	if (websocket->fragments <= FRAGMENTS_MAX || websocket->closing)
		return;
	wslay_event_shutdown_read(frames);
	websocket_break_off(websocket, WSLAY_CODE_POLICY_VIOLATION,
			    SLICE("too many fragments"));
}

static void websocket_ping(void *context)
{
	static const struct wslay_event_msg ping = { .opcode = WSLAY_PING };
	struct websocket *websocket = context;

	if (websocket->pings >= PINGS_MAX) {
		websocket_give_up(websocket);
		return;
	}
	websocket->pings++;
	wslay_event_queue_msg(websocket->h2o->ws_ctx, &ping);
	websocket_defer(websocket);
	timer_start(websocket->loop, &websocket->timer,
		    mono_after_ms(loop_now(websocket->loop), websocket->config.ping_ms),
		    websocket_ping, websocket);
}

/* --- what goes -------------------------------------------------------------------- */

bool websocket_send(struct websocket *websocket, struct slice text)
{
	wslay_event_context_ptr frames = websocket->h2o->ws_ctx;
	struct wslay_event_msg msg = {
		.opcode = WSLAY_TEXT_FRAME,
		.msg = (const uint8_t *)text.at,
		.msg_length = text.size,
	};

	if (websocket->closing || websocket->over)
		return false;
	if (wslay_event_get_queued_msg_length(frames) + text.size >
	    websocket->config.queue_size_max) {
		websocket_break_off(websocket, WSLAY_CODE_POLICY_VIOLATION,
				    SLICE("reads too slowly"));
		return false;
	}
	if (wslay_event_queue_msg(frames, &msg) != 0)
		return false; /* wslay is closing after what the other side sent */
	websocket_defer(websocket);
	return true;
}

/* h2o's way to write, and a look at whether the farewell's turn has come. */
static ssize_t websocket_write(wslay_event_context_ptr frames, const uint8_t *data,
			       size_t size, int flags, void *h2o)
{
	struct websocket *websocket = ((h2o_websocket_conn_t *)h2o)->data;

	if (websocket->farewell)
		websocket_defer(websocket);
	return websocket->h2o_send(frames, data, size, flags, h2o);
}

/* --- the handshake ---------------------------------------------------------------- */

/* The key of a valid handshake, else NULL. */
static const char *websocket_key(const struct http_request *request)
{
	const char *key = NULL;

	if (request->h2o->version >= 0x200 ||
	    h2o_is_websocket_handshake(request->h2o, &key) != 0 ||
	    !slice_equal(http_request_header(request, SLICE("sec-websocket-version")),
			 SLICE("13")))
		return NULL;
	return key;
}

bool websocket_asked(const struct http_request *request)
{
	return websocket_key(request) != NULL;
}

static void websocket_refuse(struct http_request *request)
{
	struct http_header version = { SLICE("sec-websocket-version"), SLICE("13") };
	struct fault why;

	fault_set_status(&why, FAULT_bad_input, 400, "not a valid WebSocket handshake");
	http_respond_fault(request, &why, SLICE(""), &version, 1);
}

struct websocket *websocket_accept(struct http_request *request, struct loop *loop,
				   const struct websocket_config *config,
				   const struct websocket_handler *handler, void *context)
{
	const char *key = websocket_key(request);
	struct websocket *websocket;

	if (!key) {
		websocket_refuse(request);
		return NULL;
	}
	websocket = mem_zeroed(1, sizeof(*websocket));
	websocket->loop = loop;
	websocket->config = *config;
	websocket->handler = handler;
	websocket->context = context;
	server_request_answered(request);
	request->connection->websocket = true;
	if (request->watching)
		h2o_socket_read_stop(request->connection->socket);
	websocket->h2o =
		h2o_upgrade_to_websocket(request->h2o, key, websocket, websocket_event);
	websocket->h2o_send = websocket->h2o->ws_callbacks.send_callback;
	websocket->h2o->ws_callbacks.send_callback = websocket_write;
	websocket->h2o->ws_callbacks.on_frame_recv_start_callback = websocket_frame;
	wslay_event_config_set_callbacks(websocket->h2o->ws_ctx,
					 &websocket->h2o->ws_callbacks);
	wslay_event_config_set_max_recv_msg_length(websocket->h2o->ws_ctx,
						   config->message_size_max);
	if (config->ping_ms > 0)
		timer_start(loop, &websocket->timer,
			    mono_after_ms(loop_now(loop), config->ping_ms),
			    websocket_ping, websocket);
	return websocket;
}
