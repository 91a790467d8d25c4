-- A message that is given up leaves nothing behind.
conn = mt.connect("inet:" .. port .. "@127.0.0.1")
mt.conninfo(conn, "client.example", "192.0.2.1")
mt.mailfrom(conn, "<a@example.org>")
mt.rcptto(conn, "<b@example.org>")
mt.header(conn, "Subject", "VIRUS")
mt.abort(conn)
mt.mailfrom(conn, "<a@example.org>")
mt.rcptto(conn, "<b@example.org>")
mt.header(conn, "Subject", "Hello")
mt.bodystring(conn, string.rep("hello\r\n", 10000))
mt.eom(conn)
if mt.getreply(conn) ~= SMFIR_CONTINUE then error "the second message did not go on" end
mt.disconnect(conn)
