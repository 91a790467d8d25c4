-- Malware is refused, in words of ours.
conn = mt.connect("inet:" .. port .. "@127.0.0.1")
mt.conninfo(conn, "client.example", "192.0.2.1")
mt.mailfrom(conn, "<a@example.org>")
mt.rcptto(conn, "<b@example.org>")
mt.header(conn, "Subject", "Hello")
mt.bodystring(conn, "a VIRUS\r\n")
mt.eom(conn)
if mt.getreply(conn) ~= SMFIR_REPLYCODE then error "it was not refused" end
mt.disconnect(conn)
