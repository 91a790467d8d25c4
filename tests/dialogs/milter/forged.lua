-- Fields under our name from outside are removed.
conn = mt.connect("inet:" .. port .. "@127.0.0.1")
mt.conninfo(conn, "client.example", "192.0.2.1")
mt.mailfrom(conn, "<a@example.org>")
mt.rcptto(conn, "<b@example.org>")
mt.header(conn, "X-Mailward-Verdict", "clean")
mt.header(conn, "Subject", "LOCKED")
mt.bodystring(conn, "hello\r\n")
mt.eom(conn)
if mt.getreply(conn) ~= SMFIR_CONTINUE then error "it did not go on" end
if not mt.eom_check(conn, MT_HDRDELETE, "X-Mailward-Verdict") then error "the forged field stays" end
if not mt.eom_check(conn, MT_HDRINSERT, "X-Mailward-Verdict", " unscannable") then error "no verdict" end
if not mt.eom_check(conn, MT_HDRINSERT, "X-Mailward-Tag", " unscannable") then error "not tagged" end
mt.disconnect(conn)
