from tests.rabbitmq import rabbitmq  # noqa: F401
