/* SPDX-License-Identifier: MIT */
/* server_framing.h -- the framing headers of an HTTP/1 request, where parsers disagree.
 *
 * libh2o takes the last Transfer-Encoding over any Content-Length, the first of several
 * Content-Lengths, the last Host, and hides all of them from handlers. A proxy in front
 * that chooses otherwise would see other requests than we do. So the head is looked at
 * once more, as it was sent, and what could be read in two ways is refused.
 */
#ifndef HTTP_SERVER_FRAMING_H
#define HTTP_SERVER_FRAMING_H

#include "base/fault.h"

enum server_framing {
	SERVER_FRAMING_bad, /* bad_input, 400 */
	SERVER_FRAMING_plain,
	SERVER_FRAMING_chunked,
};

/* head begins with the request line (or one empty line before it) and holds at least all
 * headers; what follows the empty line is not looked at. minor: of HTTP/1.x. */
enum server_framing server_framing_check(struct slice head, unsigned minor,
					 struct fault *why);

#endif
