from .hypermodel import VAEHyperModel as VAEHyperModel
from .results import SearchResult as SearchResult
from .search_settings import SearchSettings as SearchSettings
from .search_settings import SearchSpace as SearchSpace
from .searches import load_chosen as load_chosen
from .searches import search as search
from .searches import search_dataset as search_dataset
