-- A clean message goes on, with its verdict on top of the header.
conn = mt.connect("inet:" .. port .. "@127.0.0.1")
mt.conninfo(conn, "client.example", "192.0.2.1")
mt.macro(conn, SMFIC_MAIL, "i", "4AbCdE")
mt.mailfrom(conn, "<a@example.org>", "SIZE=100")
mt.rcptto(conn, "<b@example.org>")
mt.header(conn, "Subject", "Hello")
mt.bodystring(conn, "hello\r\n")
mt.eom(conn)
if mt.getreply(conn) ~= SMFIR_CONTINUE then error "a clean message did not go on" end
if not mt.eom_check(conn, MT_HDRINSERT, "X-Mailward-Verdict", " clean") then error "no verdict" end
if not mt.eom_check(conn, MT_HDRINSERT, "X-Mailward-Set") then error "no set" end
mt.disconnect(conn)
