"""gunicorn in front of Holdfast's API; tests/compat runs exactly this file.

HOLDFAST_CONFIG=/etc/holdfast/holdfast.toml \
    gunicorn --config gunicorn.conf.py holdfast.web.wsgi:application
"""

bind = "127.0.0.1:8081"
workers = 2
threads = 16  # a thread waits for its answer; the work is done by each worker's event loop
worker_class = "gthread"
timeout = 150  # longer than the longest answer
graceful_timeout = 30
keepalive = 30
forwarded_allow_ips = "127.0.0.1"  # whose X-Forwarded-Proto is believed
