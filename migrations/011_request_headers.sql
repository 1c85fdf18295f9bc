-- Whoever has read a partner in an open transaction holds this up, and this then all deliveries: migrate again later.
select set_config('lock_timeout', '5s', true);

-- Up to 20 members without white space, and without escapes but \" and \\, so that the text tells all. Names are
-- tokens (RFC 9110, section 5.6.2), and values printable ASCII: no line ends, whatever writes the row.
alter table partner_webhooks
    add column request_headers json not null default '{}',
    add constraint partner_webhooks_request_headers_format check (request_headers::text ~
        '^\{("[!#$%&''*+.^_`|~0-9A-Za-z-]+":(null|"([!#-[\]-~]|\\["\\])(( |[!#-[\]-~]|\\["\\])*([!#-[\]-~]|\\["\\]))?"),?){0,20}\}$'),
    add constraint partner_webhooks_request_headers_reserved check (request_headers::text !~*
        '"(accept-encoding|connection|content-[^"\\]*|date|expect|host|http2-settings|keep-alive|proxy-[^"\\]*|te|trailer|transfer-encoding|upgrade|user-agent|webhook-[^"\\]*)":'),
    add constraint partner_webhooks_request_headers_unique check (request_headers::text !~* '[{,]"([^"\\]+)":.*,"\1":'),
    add constraint partner_webhooks_request_headers_size check (octet_length(request_headers::text) <= 16384);

comment on column partner_webhooks.request_headers is
    'JSON object of the partner''s own request headers: names with their values, or null for a value that is sealed with the secrets.';
comment on column partner_webhooks.secret_ciphertext is
    'The signing secrets and the sealed values of headers as JSON, sealed with AES-256-GCM; opened only by a process that holds the key.';

---- create above / drop below ----

alter table partner_webhooks drop column request_headers;

comment on column partner_webhooks.secret_ciphertext is
    'The signing secrets as a JSON array, sealed with AES-256-GCM; opened only by a process that holds the key.';
