-- Nobody can scan: the sender is to try again, and the next message is judged as always.
conn = mt.connect("inet:" .. port .. "@127.0.0.1")
mt.conninfo(conn, "client.example", "192.0.2.1")
mt.mailfrom(conn, "<a@example.org>")
mt.rcptto(conn, "<b@example.org>")
mt.header(conn, "Subject", "DOWN")
mt.bodystring(conn, "hello\r\n")
mt.eom(conn)
if mt.getreply(conn) ~= SMFIR_REPLYCODE then error "it is not to be tried again" end
mt.mailfrom(conn, "<a@example.org>")
mt.rcptto(conn, "<b@example.org>")
mt.header(conn, "Subject", "Hello")
mt.bodystring(conn, "hello\r\n")
mt.eom(conn)
if mt.getreply(conn) ~= SMFIR_CONTINUE then error "the next message did not go on" end
mt.disconnect(conn)
