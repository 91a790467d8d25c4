-- Of what a server offers, little is asked for.
conn = mt.connect("inet:" .. port .. "@127.0.0.1")
mt.negotiate(conn, 6, nil, nil)
if not mt.test_action(conn, SMFIF_ADDHDRS) then error "adding fields is needed" end
if not mt.test_action(conn, SMFIF_CHGHDRS) then error "removing fields is needed" end
if mt.test_action(conn, SMFIF_CHGBODY) then error "the body is not touched" end
if mt.test_action(conn, SMFIF_ADDRCPT) then error "recipients are touched by rules alone" end
if mt.test_action(conn, SMFIF_QUARANTINE) then error "the server's own quarantine is not used" end
if mt.test_option(conn, SMFIP_NOHELO) then error "HELO is needed" end
if mt.test_option(conn, SMFIP_NOCONNECT) then error "the client's address is needed" end
mt.disconnect(conn)
