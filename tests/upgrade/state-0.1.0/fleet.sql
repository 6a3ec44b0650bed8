BEGIN TRANSACTION;
CREATE TABLE change (
        revision INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        name TEXT NOT NULL,
        before BLOB,
        after BLOB,
        origin TEXT NOT NULL
    ) STRICT;
INSERT INTO "change" VALUES(1,'2026-11-29T14:28:32.538+00:00','start','web-1',NULL,CAST('{"availabilitySet":"as-1","compute":{"location":"northeurope","resourceGroupName":"lab","tags":{"env":"prod","team":"web"},"vmSize":"Standard_D4s_v5","zone":"1"},"identities":{"system":true},"reach":{"address":["127.0.0.11"]}}' AS BLOB),'file');
INSERT INTO "change" VALUES(2,'2026-11-29T14:28:32.538+00:00','start','db-1',NULL,CAST('{"attested":{"licenseType":"Windows_Server"},"compute":{"location":"northeurope","offer":"WindowsServer","osType":"Windows","publisher":"MicrosoftWindowsServer","resourceGroupName":"lab"},"identities":{"user":["/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/lab/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"]},"reach":{"address":["127.0.0.12"]}}' AS BLOB),'file');
INSERT INTO "change" VALUES(3,'2026-11-01T12:00:00.000+00:00','api 127.0.0.1','api-1',NULL,CAST('{"compute":{"tags":{"owner":"ann"},"zone":"2"},"loadBalancer":{"publicIpAddresses":[{"frontendIpAddress":"20.1.2.3","privateIpAddress":"10.1.0.4"}]},"network":{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.1.0.4"}]}}]},"reach":{"address":["127.0.0.13"]}}' AS BLOB),'api');
INSERT INTO "change" VALUES(4,'2026-11-01T12:00:00.000+00:00','api 127.0.0.1','api-2',NULL,CAST('{"reach":{"address":["127.0.0.14"]}}' AS BLOB),'api');
INSERT INTO "change" VALUES(5,'2026-11-01T12:00:00.000+00:00','api 127.0.0.1','api-1',CAST('{"compute":{"tags":{"owner":"ann"},"zone":"2"},"loadBalancer":{"publicIpAddresses":[{"frontendIpAddress":"20.1.2.3","privateIpAddress":"10.1.0.4"}]},"network":{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.1.0.4"}]}}]},"reach":{"address":["127.0.0.13"]}}' AS BLOB),CAST('{"compute":{"tags":{"env":"test","owner":"ben"},"zone":"2"},"loadBalancer":{"publicIpAddresses":[{"frontendIpAddress":"20.1.2.3","privateIpAddress":"10.1.0.4"}]},"network":{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.1.0.4"}]}}]},"reach":{"address":["127.0.0.13"]}}' AS BLOB),'api');
INSERT INTO "change" VALUES(6,'2026-11-01T12:00:00.000+00:00','api 127.0.0.1','api-2',CAST('{"reach":{"address":["127.0.0.14"]}}' AS BLOB),NULL,'api');
INSERT INTO "change" VALUES(7,'2026-11-01T12:00:00.000+00:00','api 127.0.0.1','api-1',CAST('{"compute":{"tags":{"env":"test","owner":"ben"},"zone":"2"},"loadBalancer":{"publicIpAddresses":[{"frontendIpAddress":"20.1.2.3","privateIpAddress":"10.1.0.4"}]},"network":{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.1.0.4"}]}}]},"reach":{"address":["127.0.0.13"]}}' AS BLOB),CAST('{"compute":{"tags":{"env":"test","owner":"ben"},"zone":"2"},"identities":{"system":true},"loadBalancer":{"publicIpAddresses":[{"frontendIpAddress":"20.1.2.3","privateIpAddress":"10.1.0.4"}]},"network":{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.1.0.4"}]}}]},"reach":{"address":["127.0.0.13"]}}' AS BLOB),'api');
CREATE TABLE event (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        body BLOB NOT NULL
    ) STRICT;
INSERT INTO "event" VALUES(1,'DDDB898A-E717-4213-8A14-1D9D22D04C9F',CAST('{"event_id":"DDDB898A-E717-4213-8A14-1D9D22D04C9F","event_type":"Reboot","scope":"set:as-1","status":"Started","concerned":["web-1"],"resources":["web-1"],"not_before_s":1793535000,"duration_s":-1,"life_s":600,"description":"kernel update","source":"User","needs":"any","created_s":1793534400.0,"started_s":1793534520.0,"approvals":["web-1"]}' AS BLOB));
INSERT INTO "event" VALUES(2,'C952B373-F087-4C4A-9594-123AFBDDFD1B',CAST('{"event_id":"C952B373-F087-4C4A-9594-123AFBDDFD1B","event_type":"Freeze","scope":"vm:db-1","status":"Started","concerned":["db-1"],"resources":["db-1"],"not_before_s":1793534460,"duration_s":9,"life_s":600,"description":"Host server is undergoing maintenance.","source":"Platform","needs":"any","created_s":1793534400.0,"started_s":1793534460,"approvals":[]}' AS BLOB));
CREATE TABLE happening (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        who TEXT NOT NULL,
        event_id TEXT NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
INSERT INTO "happening" VALUES(1,'2026-11-01T12:00:00.000Z','api 127.0.0.1','DDDB898A-E717-4213-8A14-1D9D22D04C9F',CAST('{"event":"DDDB898A-E717-4213-8A14-1D9D22D04C9F","at":"2026-11-01T12:00:00.000Z","who":"api 127.0.0.1","trigger":"declared","before":"new","after":"Scheduled","type":"Reboot","scope":"set:as-1","vms":["web-1"],"resources":["web-1"],"not_before":"2026-11-01T12:10:00.000Z","duration_s":-1,"description":"kernel update","source":"User","incarnation":1}' AS BLOB));
INSERT INTO "happening" VALUES(2,'2026-11-01T12:00:00.000Z','api 127.0.0.1','C952B373-F087-4C4A-9594-123AFBDDFD1B',CAST('{"event":"C952B373-F087-4C4A-9594-123AFBDDFD1B","at":"2026-11-01T12:00:00.000Z","who":"api 127.0.0.1","trigger":"declared","before":"new","after":"Scheduled","type":"Freeze","scope":"vm:db-1","vms":["db-1"],"resources":["db-1"],"not_before":"2026-11-01T12:01:00.000Z","duration_s":9,"description":"Host server is undergoing maintenance.","source":"Platform","incarnation":1}' AS BLOB));
INSERT INTO "happening" VALUES(3,'2026-11-01T12:00:00.000Z','api 127.0.0.1','4EB2D2D4-2DF3-4F27-8330-20160F5C0246',CAST('{"event":"4EB2D2D4-2DF3-4F27-8330-20160F5C0246","at":"2026-11-01T12:00:00.000Z","who":"api 127.0.0.1","trigger":"declared","before":"new","after":"Scheduled","type":"Redeploy","scope":"vm:api-1","vms":["api-1"],"resources":["api-1"],"not_before":"2026-11-01T12:15:00.000Z","duration_s":-1,"description":"Virtual machine is going to be redeployed as requested by authorized user.","source":"User","incarnation":1}' AS BLOB));
INSERT INTO "happening" VALUES(4,'2026-11-01T12:00:00.000Z','api 127.0.0.1','4EB2D2D4-2DF3-4F27-8330-20160F5C0246',CAST('{"event":"4EB2D2D4-2DF3-4F27-8330-20160F5C0246","at":"2026-11-01T12:00:00.000Z","who":"api 127.0.0.1","trigger":"cancel","before":"Scheduled","after":"gone","type":"Redeploy","scope":"vm:api-1","vms":["api-1"],"resources":["api-1"],"not_before":"2026-11-01T12:15:00.000Z","duration_s":-1,"description":"Virtual machine is going to be redeployed as requested by authorized user.","source":"User","incarnation":2}' AS BLOB));
INSERT INTO "happening" VALUES(5,'2026-11-01T12:01:00.000Z','time','C952B373-F087-4C4A-9594-123AFBDDFD1B',CAST('{"event":"C952B373-F087-4C4A-9594-123AFBDDFD1B","at":"2026-11-01T12:01:00.000Z","who":"time","trigger":"not-before","before":"Scheduled","after":"Started","type":"Freeze","scope":"vm:db-1","vms":["db-1"],"resources":["db-1"],"not_before":"2026-11-01T12:01:00.000Z","duration_s":9,"description":"Host server is undergoing maintenance.","source":"Platform","incarnation":2}' AS BLOB));
INSERT INTO "happening" VALUES(6,'2026-11-01T12:02:00.000Z','api 127.0.0.1','DDDB898A-E717-4213-8A14-1D9D22D04C9F',CAST('{"event":"DDDB898A-E717-4213-8A14-1D9D22D04C9F","at":"2026-11-01T12:02:00.000Z","who":"api 127.0.0.1","trigger":"approved","before":"Scheduled","after":"Started","type":"Reboot","scope":"set:as-1","vms":["web-1"],"resources":["web-1"],"not_before":"2026-11-01T12:10:00.000Z","duration_s":-1,"description":"kernel update","source":"User","incarnation":2}' AS BLOB));
CREATE TABLE note (
        key TEXT PRIMARY KEY,
        body BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "note" VALUES('clock',CAST('{"shown_s":1793534520.0,"wall_s":1795962513.5633876,"rate":0.0}' AS BLOB));
INSERT INTO "note" VALUES('faults',CAST('[{"key":"4","begun_s":1793534520.0,"playbook":"","said":{"effect":"status","vms":["api-1"],"endpoint":"versions","every":3,"status":500}}]' AS BLOB));
INSERT INTO "note" VALUES('scenarios',CAST('{"scenarios":{"fleet":{"name":"fleet","digest":"02a8bef46c3980d4314f3c85d0a4d76679d96930079b96f526c948139cecd1c0","begun_s":1795962512.5392396,"runs":[{"plan":{"event_type":"Reboot","vms":["web-1"],"first_s":1796048912.5392396,"every_s":604800,"mean_s":0,"seed":"","count":3,"notice_s":900,"duration_s":null,"life_s":null,"description":null,"source":null,"needs":"any"},"until_s":1795962512.5392396,"next_s":1796048912.5392396,"done":0}]}}}' AS BLOB));
CREATE TABLE scope (
        name TEXT PRIMARY KEY,
        incarnation INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "scope" VALUES('set:as-1',2);
INSERT INTO "scope" VALUES('vm:api-1',2);
INSERT INTO "scope" VALUES('vm:db-1',2);
CREATE TABLE vm (
        name TEXT PRIMARY KEY,
        body BLOB NOT NULL,
        revision INTEGER NOT NULL,
        origin TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "vm" VALUES('api-1',CAST('{"compute":{"tags":{"env":"test","owner":"ben"},"zone":"2"},"identities":{"system":true},"loadBalancer":{"publicIpAddresses":[{"frontendIpAddress":"20.1.2.3","privateIpAddress":"10.1.0.4"}]},"network":{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.1.0.4"}]}}]},"reach":{"address":["127.0.0.13"]}}' AS BLOB),7,'api');
INSERT INTO "vm" VALUES('db-1',CAST('{"attested":{"licenseType":"Windows_Server"},"compute":{"location":"northeurope","offer":"WindowsServer","osType":"Windows","publisher":"MicrosoftWindowsServer","resourceGroupName":"lab"},"identities":{"user":["/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/lab/providers/Microsoft.ManagedIdentity/userAssignedIdentities/app"]},"reach":{"address":["127.0.0.12"]}}' AS BLOB),2,'file');
INSERT INTO "vm" VALUES('web-1',CAST('{"availabilitySet":"as-1","compute":{"location":"northeurope","resourceGroupName":"lab","tags":{"env":"prod","team":"web"},"vmSize":"Standard_D4s_v5","zone":"1"},"identities":{"system":true},"reach":{"address":["127.0.0.11"]}}' AS BLOB),1,'file');
CREATE INDEX change_by_name ON change (name, revision);
INSERT INTO "sqlite_sequence" VALUES('change',7);
INSERT INTO "sqlite_sequence" VALUES('event',5);
INSERT INTO "sqlite_sequence" VALUES('happening',6);
PRAGMA user_version = 2;
COMMIT;
