-- What is held by Mailward is dropped by the server, not put on hold there.
conn = mt.connect("inet:" .. port .. "@127.0.0.1")
mt.conninfo(conn, "client.example", "192.0.2.1")
mt.mailfrom(conn, "<a@example.org>")
mt.rcptto(conn, "<b@example.org>")
mt.header(conn, "Subject", "Hello")
mt.bodystring(conn, "ODD\r\n")
mt.eom(conn)
if mt.getreply(conn) ~= SMFIR_DISCARD then error "it was not dropped" end
if mt.eom_check(conn, MT_QUARANTINE) then error "it was put on hold" end
mt.disconnect(conn)
